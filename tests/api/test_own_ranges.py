"""A model that was quantized in training is exported with the ranges that it learnt, and judged against itself."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import mobilevit_tools as mvt
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.models import unwrapping
from mobilevit_tools.models.own_ranges import with_ranges
from mobilevit_tools.quantization import executorch as quantizer
from mobilevit_tools.quantization.executorch_integers import DEQUANTIZE, QUANTIZE
from mobilevit_tools.runtimes.registry import load_session
from mobilevit_tools.verification.tolerances import GATES, with_same_ranges
from tests.quantization.tiny import snr_db

pytest.importorskip("executorch")
SIDE = 32
GIVEN = {"name": "trained", "targets": "executorch", "precision": "int8", "input_size": (SIDE, SIDE)}


class Net(nn.Module):
    """What the quantizer fuses, and what it leaves in floating point."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.point, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + nn.functional.gelu(self.point(x))
        return self.head(nn.functional.dropout(x.mean((2, 3)), 0.1, self.training))


def trained(net: nn.Module) -> GraphModule:
    """A net after a few steps on images that are much darker than those that it is judged on: its ranges clip."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

    torch.manual_seed(0)
    images = torch.randn(5, 4, 3, SIDE, SIDE) * 0.2
    sizes = ({0: torch.export.Dim("batch")},)
    traced = torch.export.export(net.train(), (images[0],), dynamic_shapes=sizes, strict=False).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True, is_qat=True))
    prepared = prepare_qat_pt2e(traced, quantizer)
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.05)
    for batch in images:
        optimizer.zero_grad()
        (prepared(batch) - 1).square().mean().backward()
        optimizer.step()
    return prepared


@pytest.fixture(scope="module")
def prepared() -> GraphModule:
    torch.manual_seed(0)
    return trained(Net())


@pytest.fixture(scope="module")
def trained_state(prepared: GraphModule) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in prepared.state_dict().items()}


@pytest.fixture(scope="module")
def exported(
    prepared: GraphModule, trained_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExportedArtifact, GraphModule]:
    """What an export makes of it, and the module with ranges that it is made of: converting it takes long."""
    kept: list[GraphModule] = []

    def recorded(name: str, module: nn.Module) -> nn.Module:
        found = with_ranges(name, module)
        kept.extend([copy.deepcopy(found)] if isinstance(found, GraphModule) else [])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unwrapping, "with_ranges", recorded)
        result = mvt.export(prepared, output=tmp_path_factory.mktemp("trained"), **GIVEN)
    (artifact,), (converted,) = result.artifacts, kept
    return artifact, converted.eval()


@pytest.fixture(scope="module")
def converted(exported: tuple[ExportedArtifact, GraphModule]) -> GraphModule:
    return exported[1]


def _pairs(module: GraphModule) -> list[tuple[object, ...]]:
    """The scale and zero point of every activation."""
    return [node.args[1:5] for node in module.graph.nodes if node.target is QUANTIZE]


@pytest.mark.thorough(twin="test_other_targets_keep_them_too")
def test_a_trained_module_is_exported_with_its_ranges(
    prepared: GraphModule, trained_state: dict[str, Tensor], exported: tuple[ExportedArtifact, GraphModule]
) -> None:
    artifact, converted = exported
    assert artifact.parity.status == "passed"
    assert artifact.parity.snr_db > 25
    manifest = json.loads(artifact.manifest.read_text())
    assert manifest["spec"]["precision"] == "int8"
    assert manifest["quantization"]["method"] == "own-training"
    assert manifest["quantization"]["calibration"] is None
    assert manifest["quantized"]["quantized"] == manifest["quantized"]["layers"] == 3
    assert artifact.params == 3 * 8 * 9 + 8 + 8 * 8 + 8 + 8 * 5 + 5
    assert prepared.state_dict().keys() == trained_state.keys()
    assert all(torch.equal(value, trained_state[key]) for key, value in prepared.state_dict().items())
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with load_session(artifact.path) as session, torch.no_grad():
        got = session.run(image.numpy())[0]
        step = _pairs(converted)[-1][0]
        assert np.abs(got - converted(image).numpy()).max() <= 2.01 * step


@pytest.mark.parametrize("target", ["onnx", "coreml"])
def test_other_targets_keep_them_too(converted: GraphModule, target: str, tmp_path: Path) -> None:
    result = mvt.export(copy.deepcopy(converted), output=tmp_path, **{**GIVEN, "targets": target})
    (artifact,) = result.artifacts
    assert artifact.parity.status == "passed"
    assert artifact.parity.snr_db > 30
    assert artifact.quantization is not None
    assert (artifact.quantization.method, artifact.quantization.calibration) == ("own-training", None)
    assert artifact.quantized is not None
    assert artifact.quantized.quantized == artifact.quantized.layers == 3


def test_onnxruntime_computes_them_in_integers(converted: GraphModule, tmp_path: Path) -> None:
    (artifact,) = mvt.export(copy.deepcopy(converted), output=tmp_path, **{**GIVEN, "targets": "onnx"}).artifacts
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(artifact.path, options)
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert (found["QLinearConv"], found["QGemm"], found["Conv"], found["Gemm"]) == (2, 1, 0, 0)


class Upsampled(nn.Module):
    """A transposed convolution, whose weight XNNPACK takes in floating point alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.grow, self.head = nn.ConvTranspose2d(3, 8, 2, stride=2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.grow(x).mean((2, 3)))


def test_what_xnnpack_does_not_quantize_computes_with_the_rounded_weight(tmp_path: Path) -> None:
    module = with_ranges("up", trained(Upsampled())).eval()
    (artifact,) = mvt.export(copy.deepcopy(module), output=tmp_path, **GIVEN).artifacts
    assert artifact.parity.status == "passed"
    assert artifact.quantized is not None
    assert (artifact.quantized.quantized, artifact.quantized.layers) == (1, 2)
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with load_session(artifact.path) as session, torch.no_grad():
        assert np.abs(session.run(image.numpy())[0] - module(image).numpy()).max() <= 1.01 * _pairs(module)[-1][0]


def _widened(module: GraphModule) -> None:
    """Give activations ranges in which nothing is clipped, as measuring them anew would."""
    for node in module.graph.nodes:
        if node.target in (QUANTIZE, DEQUANTIZE):
            node.update_arg(1, 5 * node.args[1])


def _dropped(module: GraphModule) -> None:
    """Leave activations as they are."""
    for node in module.graph.nodes:
        if node.target is DEQUANTIZE:
            node.replace_all_uses_with(node.args[0].args[0])


@pytest.mark.parametrize("fault", [_widened, _dropped])
def test_its_gate_lets_neither_other_ranges_nor_none_pass(
    converted: GraphModule, fault: Callable[[GraphModule], None]
) -> None:
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    wrong = copy.deepcopy(converted)
    fault(wrong)
    wrong.recompile()
    gate = with_same_ranges(GATES["int8"]).snr_db
    with torch.no_grad():
        wanted = converted(image).numpy()
        assert snr_db(wanted, wrong(image).numpy()) < gate
        assert snr_db(wanted, quantizer.keep_ranges(converted, image)(image).numpy()) > gate


def test_a_converted_program_keeps_every_range(converted: GraphModule) -> None:
    image = torch.zeros(1, 3, SIDE, SIDE)
    kept = quantizer.keep_ranges(converted, image)
    assert len(_pairs(kept)) == len(_pairs(converted)) > 3
    assert sorted(map(str, _pairs(kept))) == sorted(map(str, _pairs(converted)))
    program = torch.export.export(converted, (image,), strict=False)
    assert mvt.api.given.given_module(program).has_ranges
