"""Clusters that a runtime assigns otherwise are counted, and only where a model has any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilevit_tools.api.decisions import count_changed
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters import coreml, onnx
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.models.clustr import Clustering
from mobilevit_tools.models.factory import create_model
from mobilevit_tools.rewrites.cluster_arithmetic import ArithmeticClustering
from mobilevit_tools.verification.inputs import VerificationInput
from tests.conftest import SMALL

CONTRACT = Contract("m", Preprocessing((64, 64)))


def inputs() -> list[VerificationInput]:
    noise = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    return [VerificationInput("noise", "noise", noise, None)]


def shallow() -> torch.nn.Module:
    """Return a model with the fewest blocks that cluster: a conversion takes as long as it has operators."""
    model = create_model("clustr_t", random_weights=True, img_size=64)
    model.block2, model.block3 = model.block2[:1], model.block3[:1]
    return model


def test_clusters_are_the_same_until_a_weight_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shallow()
    spec = ExportSpec("onnx")
    assert count_changed(model, onnx, spec, CONTRACT, inputs()) == 0

    honest = onnx.lower

    def other_weights(module: torch.nn.Module, *arguments: object) -> object:
        changed = type(module)(shallow())
        with torch.no_grad():
            changed.model.patch_embed1.proj.weight.mul_(torch.linspace(0.2, 2, 64).view(-1, 1, 1, 1))
        return honest(changed, *arguments)

    monkeypatch.setattr(onnx, "lower", other_weights)
    changed = count_changed(model, onnx, spec, CONTRACT, inputs())
    assert changed is not None
    assert changed > 10


class LoweredError(Exception):
    """Carries what was about to be lowered."""


@pytest.mark.parametrize(("names", "kind"), [(("cluster_arithmetic",), ArithmeticClustering), ((), Clustering)])
def test_what_is_asked_is_written_as_the_artifact_is(
    names: tuple[str, ...], kind: type[Clustering], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lower(module: torch.nn.Module, *_: object) -> None:
        raise LoweredError(module)

    monkeypatch.setattr(onnx, "lower", lower)
    model = create_model("clustr_t", random_weights=True, img_size=64)
    with pytest.raises(LoweredError) as caught:
        count_changed(model, onnx, ExportSpec("onnx", rewrites=names), CONTRACT, inputs())
    (lowered,) = caught.value.args
    assert {type(layer) for layer in lowered.modules() if isinstance(layer, Clustering)} == {kind}


def test_what_is_asked_is_in_float32_whatever_the_artifact_keeps_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def lower(_module: torch.nn.Module, spec: ExportSpec, *_: object) -> None:
        raise LoweredError(spec)

    monkeypatch.setattr(onnx, "lower", lower)
    model = create_model("clustr_t", random_weights=True, img_size=64)
    spec = ExportSpec("onnx", precision="fp16", rewrites=(), fp16_keep=("head",))
    with pytest.raises(LoweredError) as caught:
        count_changed(model, onnx, spec, CONTRACT, inputs())
    (lowered,) = caught.value.args
    assert (lowered.precision, lowered.fp16_keep) == ("fp32", None)


@pytest.mark.thorough(twin="test_clusters_are_the_same_until_a_weight_changes")
def test_an_artifact_that_takes_an_image_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shallow()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8)
    photo = VerificationInput("photo", "photo", CONTRACT.preprocessing.normalize(pixels), pixels)
    contract = replace(CONTRACT, input="image", output="probabilities")
    assert count_changed(model, coreml, ExportSpec("coreml"), contract, [photo, *inputs()]) == 0

    honest = coreml.ImageModel.forward
    monkeypatch.setattr(coreml.ImageModel, "forward", lambda self, pixels: honest(self, pixels.flip(-1)))
    changed = count_changed(model, coreml, ExportSpec("coreml"), contract, [photo, *inputs()])
    assert changed is not None
    assert changed > 10


def test_a_model_that_decides_nothing_has_no_count(tmp_path: Path) -> None:
    model = create_model(SMALL, random_weights=True)
    assert count_changed(model, onnx, ExportSpec("onnx"), CONTRACT, inputs()) is None
