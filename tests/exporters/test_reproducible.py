"""The same export gives the same bytes: in another process, with another hash seed, into another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.exporters.manifest import describe_artifact, read_manifest
from tests.conftest import SMALL
from tests.matrix import nets

VARIANTS = (("coreml", "int8"), ("coreml", "palette4"), ("executorch", "int8"), ("onnx", "int8"))
EXPORT = """
import json, sys
import mobilevit_tools
from mobilevit_tools.errors import GateError

small, net, photos, output, variants = json.loads(sys.argv[1])
if small:
    mobilevit_tools.export(small, random_weights=True, output=output)
for target, precision in variants:
    try:
        mobilevit_tools.export(
            net, targets=target, precision=precision, random_weights=True, output=output, keep_failed=True,
            calibration=photos if precision == "int8" else None,
        )
    except GateError:
        pass  # how right it is does not matter here
"""


def start(folder: Path, hash_seed: int, small: str | None) -> subprocess.Popen[str]:
    arguments = json.dumps(
        [small, f"{nets.__file__}:patches", str(verification_photos()[0].parent), str(folder), VARIANTS]
    )
    return subprocess.Popen(
        [sys.executable, "-c", EXPORT, arguments],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        cwd=folder.parent,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of two processes' exports."""
    folders = tuple(tmp_path_factory.mktemp(name) / name for name in ("one", "another"))
    processes = [
        start(folder, seed, small) for folder, seed, small in zip(folders, (1, 77), (SMALL, None), strict=True)
    ]
    for process in processes:
        _, complaints = process.communicate(timeout=600)
        assert process.returncode == 0, complaints
    return folders[0], folders[1]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check_same(one: Path, another: Path) -> None:
    first, second = files(one), files(another)
    assert list(first) == list(second)
    assert [name for name, content in first.items() if content != second[name]] == []
    manifest = read_manifest(one / "manifest.json")
    assert describe_artifact(another / manifest.artifact.file) == manifest.artifact


@pytest.mark.parametrize("variant", ["onnx-fp32", "coreml-fp32", "executorch-xnnpack-fp32"])
def test_floating_point(twice: tuple[Path, Path], exported: Path, variant: str) -> None:
    check_same(twice[0] / SMALL / variant, exported / variant)


@pytest.mark.parametrize(("target", "precision"), VARIANTS)
def test_quantized(twice: tuple[Path, Path], target: str, precision: str) -> None:
    variant = f"{'executorch-xnnpack' if target == 'executorch' else target}-{precision}"
    check_same(twice[0] / "nets_patches" / variant, twice[1] / "nets_patches" / variant)


def test_nothing_of_the_day_or_the_machine_is_inside(exported: Path) -> None:
    package = files(exported / "coreml-fp32" / "model.mlpackage")
    assert sorted(package) == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]
    everything = b"".join(content for content in files(exported).values())
    assert b"conversion_date" not in everything
    assert os.fsencode(Path(__file__).parents[2]) not in everything
    items = json.loads(package["Manifest.json"])
    assert items["rootModelIdentifier"] in items["itemInfoEntries"]
    assert items["itemInfoEntries"][items["rootModelIdentifier"]]["name"] == "model.mlmodel"
