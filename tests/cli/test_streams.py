"""What libraries print stays away from stdout, where scripts read the result, however much people want to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobilevit_tools.errors import ExitCode

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


def in_shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's line, in which ``$mvt`` is the command."""
    environment = {**os.environ, "mvt": f"{sys.executable} -m mobilevit_tools", "COLUMNS": "200"}
    return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_full_disk_under_stdout_is_one_sentence(flags: str) -> None:
    ran = in_shell(f"$mvt models {flags} >/dev/full")
    said = "error: The result cannot be written to stdout: No space left on device.\n"
    assert (ran.returncode, ran.stderr) == (ExitCode.BAD_INPUT, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_what_went_wrong_before_stays_the_exit_code() -> None:
    ran = in_shell("$mvt export care_s0 --random-weights --target nosuch --json >/dev/full")
    assert ran.returncode == ExitCode.USAGE
    assert "cannot be written to stdout" in ran.stderr


FLUSHED_TO_NOBODY = """
import os
import sys

from mobilevit_tools.cli.streams import private_streams

try:
    with private_streams(pass_through=False) as streams:
        streams.out.write("a result")
except BrokenPipeError:
    pass
os.write(2, b"stderr is back")
"""


def test_descriptors_are_restored_whatever_flush_does() -> None:
    command = [sys.executable, "-c", FLUSHED_TO_NOBODY]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as nobody:
        ran = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False)
    assert "stderr is back" in ran.stderr


@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_closed_stdout_is_none(flags: str) -> None:
    ran = in_shell(f"$mvt models {flags} >&-")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["2>&-", "2>&- <&-"])
def test_a_closed_stderr_leaves_stdout_alone(closed: str) -> None:
    ran = in_shell(f"$mvt models --json {closed}")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["status"] == "ok"


@pytest.mark.parametrize("arguments", ["models", "models --json", "--help", "models --help"])
def test_a_reader_that_stops_is_no_failure(arguments: str) -> None:
    """What ``mvt ... | head -1`` does, without a race: the reader is gone before the first line."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as nobody:
        command = [sys.executable, "-m", "mobilevit_tools", *arguments.split()]
        ran = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (ExitCode.OK, "")


def test_a_reader_that_stops_hides_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as nobody:
        command = [sys.executable, "-m", "mobilevit_tools", "export", "care_s0", "--target", "nosuch", "--json"]
        ran = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == ExitCode.USAGE
