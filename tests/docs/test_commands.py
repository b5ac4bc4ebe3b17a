"""Every command that the docs show works, in the order shown, in an empty folder.

Lines that are nothing but ``mvt`` and its arguments run in this process, and so do blocks in Python: what a process of
its own adds is the import of everything, and that is tested with the command line.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
import torch
from filelock import FileLock

import mobilevit_tools
from mobilevit_tools.api import shares
from mobilevit_tools.cli import main
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.models.sources.torchvision import make_importable
from mobilevit_tools.profiling import host
from tests import hub
from tests.docs.pages import PAGES, PLAIN, ROOT, Block, blocks, name
from tests.shallow import cut, cut_bundled
from tests.tiers import thorough

EXPORT = re.compile(r"mvt export [^|>&]* --output ([\w-]+)/?(?: |$)")


def commands(block: Block) -> list[tuple[str, str]]:
    """Return what a block shows: each line of a bash block, or a python block, with the language."""
    if block.language == "bash":
        return [("bash", line) for line in block.lines]
    return [("python", block.code)] if block.language == "python" and not block.indented else []


RUNNABLE = {page: found for page in PAGES if (found := [each for block in blocks(page) for each in commands(block)])}


DEAR = (
    "README",
    "docs/how-to/export-a-timm-or-hugging-face-model",
    "docs/how-to/measure-accuracy",
    "docs/how-to/profile-on-a-device",
    "docs/how-to/smoke-test-exports",
    "docs/how-to/sweep",
    "docs/tutorials/export-checks-in-github-actions",
    "docs/tutorials/first-export",
)
"""Pages whose commands take ten seconds or more; `make test` parses them."""


@pytest.fixture
def shallow_care(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model that the docs speak of have one block of a kind a stage: no command is about how deep it is."""
    cut_bundled(monkeypatch, tmp_path_factory.mktemp("weights"), "care_s0.imagenette")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shallow_care: None) -> Path:
    """The current folder, with the files that the docs speak of; measuring takes milliseconds there."""
    shutil.copy(verification_photos()[0], tmp_path / "photo.jpg")
    model = mobilevit_tools.create_model("care_s0", num_classes=3, random_weights=True)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "checkpoint.pth")
    (tmp_path / "labels.txt").write_text("cat\ndog\nhorse\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shares.Machine, "processes", lambda _machine: 1)  # another would load the deep model
    short = {"warmup_seconds": 0.0, "min_seconds": 0.05, "settle_calls": 20}
    monkeypatch.setattr(host, "RIGORS", {name: replace(spec, **short) for name, spec in host.RIGORS.items()})
    return tmp_path


@pytest.fixture
def shallow_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let timm build one block of a kind a stage: how deep a model is has nothing to do with the command."""
    make_importable()
    import timm

    build = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: cut(build(*args, **kwargs)))


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


def run(language: str, shown: str, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run what a page shows and return what it says, of Python nothing."""
    if language == "python":
        run_python(shown, monkeypatch)
        return ""
    plain = PLAIN.fullmatch(shown.strip())
    if plain is None or "hf:" in shown:  # the library of the Hub reads its environment when it is imported
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HF_HUB_CACHE": str(hub_cache),
            "HF_HUB_OFFLINE": "1",
        }
        return in_shell(shown, environment)
    said = StringIO()
    with redirect_stdout(said):
        code = main(shlex.split(plain["arguments"], comments=True))
    assert code == 0, f"{shown}\n{said.getvalue()}"
    if plain["into"] is not None:
        Path(plain["into"]).write_text(said.getvalue())
    return said.getvalue()


def in_shell(line: str, environment: Mapping[str, str]) -> str:
    ran = subprocess.run(["bash", "-euc", line], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def run_python(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block as a program of its own; one that starts with a file's name in a comment is written there first."""
    if code.startswith("# "):
        Path(code.splitlines()[0].removeprefix("# ")).write_text(code)
    module = ModuleType("__main__")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "__main__", module)
        exec(compile(code, "<block>", "exec"), module.__dict__)


@pytest.mark.usefixtures("shallow_timm")
@pytest.mark.parametrize(
    "page",
    [
        *(page for page in RUNNABLE if name(page) not in DEAR),
        *(thorough(ROOT / f"{page}.md") for page in DEAR),
    ],
    ids=name,
)
def test_commands_of(page: Path, desk: Path, made: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for language, shown in RUNNABLE[page]:
        export = EXPORT.match(shown)
        if export is None:
            said = run(language, shown, hub_cache, monkeypatch)
            assert "are identical" not in said, f"{shown}\ncompares a thing with itself"
            continue
        kept = made / hashlib.sha256(shown.encode()).hexdigest()
        with FileLock(f"{kept}.lock"):
            if kept.is_dir():  # another page shows the very same export
                shutil.copytree(kept, desk / export[1], dirs_exist_ok=True)
            else:
                run(language, shown, hub_cache, monkeypatch)
                shutil.copytree(desk / export[1], kept)
