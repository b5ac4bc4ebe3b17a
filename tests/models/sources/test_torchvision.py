"""A torchvision whose operators do not load is imported all the same, and one that is broken otherwise is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = """
import torch


@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets


{more}
"""
CODE = """
from mobilevit_tools.models.sources.torchvision import make_importable
from mobilevit_tools.errors import MissingDependencyError
try:
    make_importable()
    import torchvision
    print("imported", torchvision.__file__)
except MissingDependencyError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [("", "imported"), ("raise OSError('libcudart.so.13: no such file')", "does not import beside torch")],
)
def test_operators_that_do_not_load_are_declared(tmp_path: Path, more: str, said: str) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from . import registrations\n")
    (package / "registrations.py").write_text(STAND_IN.format(more=more))
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{CODE}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=200)
    assert said in done.stdout
    if more:
        assert "pip install" in done.stdout
    else:
        assert str(tmp_path) in done.stdout
