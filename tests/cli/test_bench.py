from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mobilevit_tools
from mobilevit_tools.api import bench, profile
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.runtimes.registry import load_session
from tests.cli.conftest import Ran
from tests.conftest import SMALL

Mvt = Callable[..., Ran]


def test_a_model_with_its_rewrites_and_without_in_milliseconds_and_instructions(
    mvt: Mvt, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, dict[str, int]]] = []

    def compare(a: Path, b: Path, **options: Any) -> ComparisonResult:
        for path in (a, b):
            with load_session(path) as session:
                compared.append((path.read_bytes(), session.operators()))
        return profile.compare(a, b, **options)

    monkeypatch.setattr(bench, "compare", compare)
    devices = ("--device", "host", "--device", "count")
    ran = mvt("bench", "rewrites", SMALL, "-t", "executorch", *devices, "--rigor", "quick", "--json")
    assert ran.code == 0
    assert ran.envelope["command"] == "bench rewrites"
    gain, counted = ran.envelope["result"]["gains"]
    assert (gain["model"], gain["deployment"], gain["threads"]) == (SMALL, "executorch-xnnpack", 1)
    assert gain["rewrite"] == "all rewrites"
    # How much faster it is depends on the machine; that they are two does not.
    (plain, _), (rewritten, operators), *_ = compared
    assert plain != rewritten
    assert operators == {"delegate:XnnpackBackend": 1}
    assert gain["measured"]["comparison"]["ratio"] > 0
    assert gain["measured"]["a"]["latency_ms"]["n"] == gain["measured"]["b"]["latency_ms"]["n"] >= 30
    assert counted["device"] == "count"
    assert 0 < counted["measured"]["b"]["instructions"] < counted["measured"]["a"]["instructions"]
    assert counted["measured"]["b"]["latency_ms"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "coreml"),
        ("-t", "onxn"),
        ("--rigor", "sloppy"),
        ("--threads", "0"),
        ("--device", "adb"),
        ("--input-size", "x"),
        ("--nonsense",),
    ],
)
def test_usage_is_checked_before_anything_is_measured(mvt: Mvt, arguments: tuple[str, ...]) -> None:
    assert mvt("bench", "rewrites", SMALL, *arguments).code == 2


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint of the small model, and a list of photos with the classes that it sees in them."""
    model = mobilevit_tools.create_model(SMALL, num_classes=3, random_weights=True)
    checkpoint, listed = tmp_path / "weights.pth", tmp_path / "photos.csv"
    torch.save(model.state_dict(), checkpoint)
    photos = [Path(shutil.copy(photo, tmp_path)).name for photo in verification_photos()]
    listed.write_text("".join(f"{photo},{index % 3}\n" for index, photo in enumerate(photos)))
    return checkpoint, listed


def test_a_model_in_every_precision_that_was_asked_for(mvt: Mvt, trained: tuple[Path, Path]) -> None:
    checkpoint, listed = map(str, trained)
    data = ("--checkpoint", checkpoint, "--calibration", str(trained[1].parent), "--eval", listed)
    asked = ("-t", "onnx", "-t", "onnx", "--precision", "int8")
    ran = mvt("bench", "precisions", SMALL, *data, *asked, "--rigor", "quick", "--json")
    assert ran.code == 0
    # What the quantizer prints stays away from a process's own stdout, but not from a test's.
    fp32, int8 = json.loads(ran.out.splitlines()[-1])["result"]["rows"]
    assert [row["artifact"]["precision"] for row in (fp32, int8)] == ["fp32", "int8"]
    assert fp32["size_ratio"] == 1 > int8["size_ratio"]
    assert int8["size_ratio"] == int8["artifact"]["size_bytes"] / fp32["artifact"]["size_bytes"]
    assert fp32["accuracy"]["agreement"] == 1
    assert fp32["accuracy"]["images"] == int8["accuracy"]["images"] == len(verification_photos())
    assert int8["speed"]["a"]["artifact"] == fp32["speed"]["b"]["artifact"]
    assert fp32["instructions"] is None


def test_precisions_are_checked_before_anything_is_exported(mvt: Mvt, trained: tuple[Path, Path]) -> None:
    arguments = (SMALL, "--calibration", str(trained[1].parent), "--eval", str(trained[1]))
    for wrong in (("--precision", "int7"), ("-t", "onxn"), ("--rigor", "sloppy")):
        assert mvt("bench", "precisions", *arguments, *wrong).code == 2
