from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mobilevit_tools.api import accuracy_bound
from mobilevit_tools.data.class_order import ClassOrder
from mobilevit_tools.errors import BadInputError, GateError, UsageError
from mobilevit_tools.exporters import onnx
from mobilevit_tools.exporters._base import ExportSpec, Half, Lowering
from mobilevit_tools.profiling import host
from mobilevit_tools.profiling.protocol import LatencySpec
from mobilevit_tools.progress import silent
from mobilevit_tools.quantization import sensitivity
from mobilevit_tools.quantization._base import Quantization, plan_quantization
from mobilevit_tools.verification.reference import torch_reference
from tests.quantization.tiny import CLASSES, CONTRACT, RECIPE, Tiny, smooth_pixels, tiny

LABELS = tuple(f"class {index}" for index in range(CLASSES))


@pytest.fixture
def _untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("no latency here")

    monkeypatch.setattr(accuracy_bound, "profile_on_host", refuse)
    monkeypatch.setattr(accuracy_bound, "compare_on_host", refuse)


def _damaged() -> Tiny:
    """The net with a head whose outliers leave its other weights no levels at all."""
    net = tiny()
    net.head.weight[:, 0] = 3000 * net.head.weight.abs().max()
    net.out.weight[0].zero_()
    net.out.bias[0] = 0
    net.pointwise.weight[0].zero_()
    net.pointwise.bias[0] = 0
    net.stem.weight[0].zero_()
    net.stem.bias[0] = 0
    return net


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos labelled by what the float model says, so that its own top-1 is 100 %."""
    root = tmp_path / "photos"
    pixels = smooth_pixels(24, seed=3)
    with torch.no_grad():
        predicted = _damaged()(torch.from_numpy(RECIPE.normalize(pixels))).argmax(dim=1).tolist()
    for index, (image, label) in enumerate(zip(pixels, predicted, strict=True)):
        folder = root / LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{index:02}.png")
    return root


def _keep_within(
    max_drop: float, photos: Path, half: Half | None = None, class_order: ClassOrder | None = None
) -> Quantization:
    net = _damaged()
    plan = plan_quantization("onnx", "int8-weight", None)
    assert plan is not None
    return accuracy_bound.keep_within(
        accuracy_bound.AccuracyBound(max_drop, photos, class_order),
        net,
        plan,
        exporter=onnx,
        spec=ExportSpec("onnx", precision="int8-weight"),
        contract=replace(CONTRACT, labels=LABELS),
        num_classes=CLASSES,
        reference=torch_reference(net),
        half=half,
        progress=silent,
    )


def test_what_hurts_is_kept_and_nothing_else(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "RIGORS", {"quick": LatencySpec(min_runs=100, min_seconds=0.1, warmup_seconds=0.1)})
    found = _keep_within(5.0, photos)
    assert found.keep == ("head.weight",)
    first, last = found.search
    assert (first.kept, last.kept) == (0, 1)
    assert first.drop > 20 > 5 >= last.drop
    assert first.size_bytes < last.size_bytes
    assert last.top1 == pytest.approx(1 - last.drop / 100)
    assert first.latency_ms is not None
    assert first.relative_latency is None
    assert last.latency_ms is not None
    assert last.relative_latency is not None
    assert last.relative_interval is not None
    assert last.relative_interval[0] <= last.relative_latency <= last.relative_interval[1]


@pytest.mark.usefixtures("_untimed")
def test_a_generous_bound_keeps_nothing(photos: Path) -> None:
    found = _keep_within(100.0, photos)
    assert found.keep == ()
    (only,) = found.search
    assert (only.latency_ms, only.relative_latency, only.relative_interval) == (None, None, None)


@pytest.mark.usefixtures("_untimed")
def test_a_bound_that_cannot_be_met_is_a_failed_gate(photos: Path) -> None:
    with pytest.raises(GateError, match="only with nothing quantized"):
        _keep_within(-1.0, photos)


def test_the_photos_folders_are_read_in_the_order_that_is_asked_for(photos: Path) -> None:
    with pytest.raises(BadInputError, match="The class order 'index' needs names that are class indices"):
        _keep_within(5.0, photos, class_order="index")


@pytest.mark.usefixtures("_untimed")
def test_what_is_tried_keeps_in_float32_what_the_artifact_does(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def lower(*arguments: Any, half: Half | None = None) -> Lowering:
        asked.append(half)
        return honest(*arguments, half=half)

    honest = onnx.lower
    monkeypatch.setattr(onnx, "lower", lower)

    spec = ExportSpec("onnx", precision="int8-weight")
    half = Half(onnx.trace(_damaged(), spec, replace(CONTRACT, labels=LABELS)), ())
    _keep_within(100.0, photos, half)
    assert asked == [half]


def test_where_nothing_can_be_quantized_nothing_is_searched(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "rank_operators", lambda *_: ())
    found = _keep_within(0.0, photos)
    assert (found.keep, found.search) == ((), ())
