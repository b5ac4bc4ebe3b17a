"""Every command that the docs show works, in the order shown, in an empty folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import mobilevit_tools
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.models.sources.torchvision import make_importable
from tests import hub
from tests.docs.pages import PAGES, Block, blocks, name

EXPORT = re.compile(r"mvt export [^|>&]* --output ([\w-]+)/?(?: |$)")
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


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands that several pages show have made, for all test processes."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root) / "made"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the Hub with the repository that the docs name: its layers as published, weights of a seed."""
    make_importable()
    import transformers

    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    config = transformers.MobileViTConfig(
        hidden_sizes=[64, 80, 96],
        neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        expand_ratio=2.0,
        num_labels=1000,
    )
    model = transformers.MobileViTForImageClassification(config).train()
    with torch.no_grad():
        for _ in range(20):  # statistics for its norms, without which it is ill-conditioned
            model(torch.randn(4, 3, 128, 128))
    model.save_pretrained(folder / "made")
    processor = transformers.MobileViTImageProcessorPil(
        size={"shortest_edge": 288}, crop_size={"height": 256, "width": 256}
    )
    processor.save_pretrained(folder / "made")
    hub.put(
        folder / "cache",
        "apple/mobilevit-xx-small",
        {path.name: path.read_bytes() for path in (folder / "made").iterdir()},
    )
    return folder / "cache"


def run(command: list[str], desk: Path, hub_cache: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_CACHE": str(hub_cache),
        "HF_HUB_OFFLINE": "1",
    }
    ran = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_commands_of(page: Path, desk: Path, made: Path, hub_cache: Path) -> None:
    for command in RUNNABLE[page]:
        export = EXPORT.match(command[-1])
        if export is None:
            said = run(command, desk, hub_cache)
            assert "are identical" not in said, f"{command[-1]}\ncompares a thing with itself"
            continue
        kept = made / hashlib.sha256(command[-1].encode()).hexdigest()
        with FileLock(f"{kept}.lock"):
            if kept.is_dir():  # another page shows the very same export
                shutil.copytree(kept, desk / export[1], dirs_exist_ok=True)
            else:
                run(command, desk, hub_cache)
                shutil.copytree(desk / export[1], kept)
