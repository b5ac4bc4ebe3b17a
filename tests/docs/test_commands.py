"""Every command that the docs show works, in the order shown, in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mobilevit_tools
from mobilevit_tools.data.bundled import verification_photos
from tests.docs.pages import PAGES, Block, blocks, name

RUN = "runpy.run_path({!r}, run_name='__main__')"


def commands(block: Block) -> list[list[str]]:
    """Return what a block shows as argument lists: each line of a bash block, or a python block.

    A python block that starts with a file's name in a comment is that file: it is written, and run.
    """
    if block.language == "bash":
        return [["bash", "-euc", line] for line in block.lines]
    if block.language != "python" or block.indented:
        return []
    if block.code.startswith("# "):
        file = block.code.splitlines()[0].removeprefix("# ")
        write = f"open({file!r}, 'w').write({block.code!r})"
        return [[sys.executable, "-c", f"{write}; import runpy; {RUN.format(file)}"]]
    return [[sys.executable, "-c", block.code]]


RUNNABLE = {page: found for page in PAGES if (found := [each for block in blocks(page) for each in commands(block)])}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the files that the docs speak of."""
    shutil.copy(verification_photos()[0], tmp_path / "photo.jpg")
    model = mobilevit_tools.create_model("care_s0", num_classes=3, random_weights=True)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "checkpoint.pth")
    (tmp_path / "labels.txt").write_text("cat\ndog\nhorse\n")
    return tmp_path


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_commands_of(page: Path, desk: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in RUNNABLE[page]:
        ran = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}\n{ran.stderr}"
