"""What Macs leave in folders is no part of an artifact."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.artifacts.files import artifact_files, describe_artifact
from mobilevit_tools.profiling.host import size_of

LEFTOVERS = (".DS_Store", "Data/.DS_Store", "Data/._weight.bin", "__MACOSX/Data/weight.bin", "Icon\r", ".localized")


def package(root: Path) -> Path:
    (root / "Data").mkdir(parents=True)
    (root / "Manifest.json").write_text("{}")
    (root / "Data" / "weight.bin").write_bytes(b"weights")
    return root


@pytest.mark.parametrize("name", LEFTOVERS)
def test_leftovers_change_neither_digest_nor_size(tmp_path: Path, name: str) -> None:
    clean = describe_artifact(package(tmp_path / "model.mlpackage"))
    leftover = tmp_path / "model.mlpackage" / name
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.write_bytes(b"Bud1")
    assert describe_artifact(tmp_path / "model.mlpackage") == clean
    assert size_of(tmp_path / "model.mlpackage") == clean.size_bytes == len(b"{}weights")


@pytest.mark.parametrize("name", ["weight.bin", "Data/extra.bin", ".hidden", "DS_Store"])
def test_any_other_file_changes_the_digest(tmp_path: Path, name: str) -> None:
    clean = describe_artifact(package(tmp_path / "model.mlpackage"))
    (tmp_path / "model.mlpackage" / name).write_bytes(b"weights")
    assert describe_artifact(tmp_path / "model.mlpackage").sha256 != clean.sha256


def test_a_file_is_all_of_its_artifact_whatever_its_name_or_its_folders(tmp_path: Path) -> None:
    folder = tmp_path / "__MACOSX"
    assert len(artifact_files(package(folder / "model.mlpackage"))) == 2
    (folder / "._model.onnx").write_bytes(b"x")
    assert artifact_files(folder / "._model.onnx") == [folder / "._model.onnx"]
