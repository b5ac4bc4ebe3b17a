"""What libraries print stays away from stdout, where scripts read the result, however much people want to see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NET = """
import os

import torch

print("printed while it was imported")


def build():
    os.write(1, b"printed past Python\\n")
    print("printed while it was built")
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2)), {"input_size": (8, 8)}
"""
PRINTED = ("printed while it was imported", "printed past Python", "printed while it was built")


@pytest.mark.parametrize(("verbosity", "shown"), [((), ()), (("-v",), ()), (("-vv",), PRINTED)])
def test_stdout_is_one_envelope(tmp_path: Path, verbosity: tuple[str, ...], shown: tuple[str, ...]) -> None:
    (tmp_path / "net.py").write_text(NET)
    command = [sys.executable, "-m", "mobilevit_tools", "info", "net.py:build", "--json", *verbosity]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["result"]["params"] == 386
    assert tuple(sorted(line for line in PRINTED if line in ran.stderr)) == tuple(sorted(shown))
