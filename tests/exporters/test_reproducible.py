"""The same export gives the same bytes: in another process or two, with another hash seed, into another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.errors import GateError
from mobilevit_tools.progress import Advance
from tests.conftest import SMALL
from tests.matrix import nets
from tests.unchecked import unchecked

ROOT = Path(__file__).parents[2]
VARIANTS = (("coreml", "int8"), ("coreml", "palette4"), ("executorch", "int8"), ("onnx", "int8"))
NET = f"{nets.__file__}:patches"
PHOTOS = verification_photos()[0].parent
ELSEWHERE = """
import sys
from tests.exporters import test_reproducible

getattr(test_reproducible, sys.argv[1])(sys.argv[2])
"""


def export_side_by_side(output: str) -> None:
    """Export to all targets in two processes."""
    here: dict[str, bool] = {}

    @contextmanager
    def progress(step: str, parts: int = 0, /) -> Iterator[Advance]:
        yield lambda: None
        here[step] = threading.current_thread() is threading.main_thread()

    mobilevit_tools.export(SMALL, random_weights=True, output=output, jobs=2, progress=progress)
    converted = {step.split()[-1]: each for step, each in here.items() if "] Converting" in step}
    assert converted == {"onnx-fp32": False, "coreml-fp32": False, "executorch-xnnpack-fp32": True}


def export_plainly(output: str) -> None:
    mobilevit_tools.export(SMALL, random_weights=True, output=output, targets=("onnx", "coreml"))
    export_variants(output, VARIANTS[:1])


def export_variants(output: str | Path, variants: Sequence[tuple[str, str]] = VARIANTS) -> None:
    for target, precision in variants:
        photos = PHOTOS if precision == "int8" else None
        with suppress(GateError), unchecked():  # how right it is does not matter here
            mobilevit_tools.export(
                NET,
                targets=target,
                precision=precision,
                random_weights=True,
                output=output,
                keep_failed=True,
                calibration=photos,
            )


def export_everything(output: str) -> None:
    export_side_by_side(output)
    export_variants(output)


def exported_elsewhere(function: str, folder: Path) -> Path:
    """Return the folder of another process's exports, whose hash seed is not that of this one."""
    seed = "77" if hash("seed") != _hash_with("77") else "78"
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, function, str(folder)],
        env=_seeded(seed),
        cwd=folder.parent,
        check=True,
        timeout=600,
    )
    return folder


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exports of another process: of two targets, and of a quantized package."""
    return exported_elsewhere("export_plainly", tmp_path_factory.mktemp("elsewhere") / "made")


@pytest.fixture(scope="module")
def everything_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exports of another process, which converted to all targets side by side, in every precision tried here."""
    return exported_elsewhere("export_everything", tmp_path_factory.mktemp("elsewhere") / "made")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this process's exports."""
    folder = tmp_path_factory.mktemp("here")
    export_variants(folder)
    return folder


def _seeded(seed: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}


def _hash_with(seed: str) -> int:
    told = subprocess.run(
        [sys.executable, "-c", "print(hash('seed'))"], env=_seeded(seed), check=True, capture_output=True, text=True
    )
    return int(told.stdout)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check_same(one: Path, another: Path) -> None:
    first, second = files(one), files(another)
    assert list(first) == list(second)
    assert [name for name, content in first.items() if content != second[name]] == []
    manifest = read_manifest(one / "manifest.json")
    assert describe_artifact(another / manifest.artifact.file) == manifest.artifact


@pytest.mark.parametrize("variant", ["onnx-fp32", "coreml-fp32"])
def test_floating_point(elsewhere: Path, exported: Path, variant: str) -> None:
    check_same(elsewhere / SMALL / variant, exported / variant)


def test_quantized(elsewhere: Path, tmp_path: Path) -> None:
    export_variants(tmp_path, VARIANTS[:1])
    check_same(elsewhere / "nets_patches/coreml-int8", tmp_path / "nets_patches/coreml-int8")


@pytest.mark.thorough(twin="test_floating_point")
@pytest.mark.parametrize("variant", ["onnx-fp32", "coreml-fp32", "executorch-xnnpack-fp32"])
def test_floating_point_side_by_side(everything_elsewhere: Path, exported: Path, variant: str) -> None:
    check_same(everything_elsewhere / SMALL / variant, exported / variant)


@pytest.mark.thorough(twin="test_quantized")
@pytest.mark.parametrize(("target", "precision"), VARIANTS)
def test_every_quantized_one(everything_elsewhere: Path, here: Path, target: str, precision: str) -> None:
    variant = f"{'executorch-xnnpack' if target == 'executorch' else target}-{precision}"
    check_same(everything_elsewhere / "nets_patches" / variant, here / "nets_patches" / variant)


def test_nothing_of_the_day_or_the_machine_is_inside(exported: Path) -> None:
    package = files(exported / "coreml-fp32" / "model.mlpackage")
    assert sorted(package) == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]
    everything = b"".join(content for content in files(exported).values())
    assert b"conversion_date" not in everything
    assert os.fsencode(ROOT) not in everything
    items = json.loads(package["Manifest.json"])
    assert items["rootModelIdentifier"] in items["itemInfoEntries"]
    assert items["itemInfoEntries"][items["rootModelIdentifier"]]["name"] == "model.mlmodel"
