from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.package import open_package

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


def _redirect(package: Path, target: str) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = target
    (package / "Manifest.json").write_text(json.dumps(manifest))


def test_a_package_opens(small_package: Path) -> None:
    package = open_package(small_package)
    assert package.spec.WhichOneof("Type") == "mlProgram"
    assert package.weight_file("@model_path/weights/weight.bin").name == "weight.bin"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_model_file_cut_short_is_refused(copied: Callable[[], Path], share: float) -> None:
    path = copied() / MODEL
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BadInputError, match="truncated") as caught:
        load_program(path.parents[2])
    assert caught.value.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize("size", [0, 7, 64, 200])
def test_a_weight_file_too_small_for_its_offsets_is_refused(copied: Callable[[], Path], size: int) -> None:
    path = copied() / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadInputError, match=r"weight file|too small"):
        load_program(path.parents[3])


def test_a_missing_weight_file_is_refused(copied: Callable[[], Path]) -> None:
    path = copied() / WEIGHTS
    path.unlink()
    with pytest.raises(BadInputError, match="incomplete: its weight file"):
        load_program(path.parents[3])


@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd", "com.apple.CoreML/../../../secret", "a\\..\\b", ""])
def test_a_manifest_that_leads_out_of_the_package_is_refused(copied: Callable[[], Path], target: str) -> None:
    package = copied()
    (package.parent / "secret").write_bytes((package / MODEL).read_bytes())
    _redirect(package, target)
    with pytest.raises(BadInputError, match="outside of itself"):
        open_package(package)


def test_links_out_of_the_package_are_refused(copied: Callable[[], Path]) -> None:
    package = copied()
    outside = package.parent / "outside"
    for inner, match in ((MODEL, "model file outside"), (WEIGHTS, "weight file outside")):
        (package / inner).rename(outside)
        (package / inner).symlink_to(outside)
        with pytest.raises(BadInputError, match=match):
            load_program(package)
        (package / inner).unlink()
        outside.rename(package / inner)
    load_program(package)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("[]", "names no root model"),
        ("{}", "names no root model"),
        ('{"rootModelIdentifier": 3, "itemInfoEntries": {}}', "names no root model"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_damaged_manifest_is_refused(copied: Callable[[], Path], content: str, said: str) -> None:
    package = copied()
    (package / "Manifest.json").write_text(content)
    with pytest.raises(BadInputError, match=said):
        open_package(package)


def test_an_endless_manifest_is_not_read(copied: Callable[[], Path]) -> None:
    package = copied()
    with (package / "Manifest.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInputError, match="too large for a manifest"):
        open_package(package)


def test_an_endless_model_file_is_not_read(copied: Callable[[], Path]) -> None:
    package = copied()
    with (package / MODEL).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInputError, match="2 GiB"):
        open_package(package)


def test_what_is_no_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no Core ML model at"):
        open_package(tmp_path / "absent.mlpackage")
    with pytest.raises(BadInputError, match=r"no Manifest\.json"):
        open_package(tmp_path)
    text = tmp_path / "notes.mlmodel"
    text.write_text("no model")
    with pytest.raises(BadInputError, match="not a Core ML model"):
        open_package(text)
    compiled = tmp_path / "model.mlmodelc"
    compiled.mkdir()
    with pytest.raises(BadInputError, match="compiled") as caught:
        open_package(compiled)
    assert ".mlpackage" in str(caught.value.hint)


def test_a_program_outside_of_a_package_cannot_name_weights(small_package: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.mlmodel"
    alone.write_bytes((small_package / MODEL).read_bytes())
    with pytest.raises(BadInputError, match="not part of a package"):
        load_program(alone)


def test_links_in_a_circle_are_no_file(copied: Callable[[], Path]) -> None:
    package = copied()
    (package / WEIGHTS).unlink()
    (package / WEIGHTS).symlink_to(WEIGHTS.name)
    with pytest.raises(BadInputError, match="incomplete: its weight file"):
        load_program(package)
