"""Sources are data: what is listed is importable, what is not installed is told, and packages bring their own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError, MissingDependencyError, UsageError
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.references import split_source
from mobilevit_tools.models.sources import registry
from mobilevit_tools.models.sources.registry import SOURCES, listed_models, load_source

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("prefix", SOURCES)
def test_every_source_has_its_extra(prefix: str) -> None:
    source = SOURCES[prefix]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(requirement.startswith(f"{source.package}>=") for requirement in extras[source.extra])
    assert split_source(source.example) is not None
    assert source.example.startswith(f"{prefix}:")


@pytest.mark.parametrize("prefix", SOURCES)
def test_a_package_that_is_missing_is_told_with_its_extra(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="not installed") as refusal:
        load_source(prefix)
    assert refusal.value.hint == f"pip install 'mobilevit-tools[{SOURCES[prefix].extra}]'"


def test_a_misspelt_source_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no source of models named 'tim'") as refusal:
        load_model("tim:resnet18", random_weights=True)
    assert refusal.value.hint == "Did you mean timm:?"


def test_drives_files_and_plain_names_are_no_sources() -> None:
    assert [split_source(name) for name in ("care_s0.imagenette", "C:\\net.py", "a/net.py:build")] == [None] * 3


def test_an_installed_package_brings_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_zoo-1.0.dist-info").mkdir()
    (tmp_path / "their_zoo-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-zoo\nVersion: 1.0\n"
    )
    (tmp_path / "their_zoo-1.0.dist-info" / "entry_points.txt").write_text(
        "[mobilevit_tools.sources]\ntheirs = their_zoo\nempty = their_zoo:NOTHING\n"
    )
    (tmp_path / "their_zoo.py").write_text(
        "from torch import nn\nfrom mobilevit_tools.models.builder import OwnModel\nNOTHING = 3\n\n\n"
        "def find_model(name):\n"
        "    net = lambda: (nn.Sequential(nn.Conv2d(3, 5, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()),\n"
        "                   {'input_size': (8, 8)})\n"
        "    return OwnModel(f'theirs:{name}', net)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_model("theirs:small", random_weights=True)
    assert (loaded.name, loaded.num_classes) == ("theirs:small", 5)
    with pytest.raises(UsageError, match="cannot be listed"):
        listed_models("theirs", "*")
    with pytest.raises(BadInputError, match="has no find_model"):
        load_source("empty")
    sys.modules.pop("their_zoo", None)


def test_help_and_lists_of_ours_import_no_source() -> None:
    code = (
        "import sys\nfrom mobilevit_tools.cli import main\n"
        "try:\n    main(['models'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'timm', 'transformers', 'torchvision'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
