from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from mobilevit_tools.comparison.onnx import read_layers
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.onnx import lower
from mobilevit_tools.quantization._base import Quantization, plan_quantization
from mobilevit_tools.quantization.onnx_ranges import CHUNK
from mobilevit_tools.quantization.sensitivity import round_weight
from mobilevit_tools.runtimes.registry import load_session
from tests.quantization.tiny import CLASSES, CONTRACT, WIDTH, Tied, calibration, fresh_inputs, snr_db, tiny

INPUTS = fresh_inputs()


def _plan(precision: str, **options: object) -> Quantization:
    plan = plan_quantization("onnx", precision, calibration() if precision == "int8" else None, **options)  # type: ignore[arg-type]
    assert plan is not None
    return plan


def _lower(path: Path, plan: Quantization | None) -> onnx.ModelProto:
    lower(tiny(), ExportSpec("onnx", precision=plan.precision if plan else "fp32"), CONTRACT, path, plan)
    return onnx.load(path)


def _run(path: Path) -> np.ndarray:
    with load_session(path) as session:
        return np.concatenate([session.run(image[None])[0] for image in INPUTS])


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    with torch.no_grad():
        return tiny()(torch.from_numpy(INPUTS)).numpy()


def _dequantized(model: onnx.ModelProto) -> set[str]:
    return {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}


@pytest.mark.parametrize("method", ["percentile", "min-max", "entropy"])
def test_int8_computes_the_model(tmp_path: Path, expected: np.ndarray, method: str) -> None:
    model = _lower(tmp_path / "model.onnx", _plan("int8", method=method))
    assert snr_db(expected, _run(tmp_path / "model.onnx")) > 30  # per tensor, the depthwise convolution costs 15 dB
    weighted = [node for node in model.graph.node if node.op_type in {"Conv", "Gemm", "MatMul"}]
    assert sum(node.input[1] in _dequantized(model) for node in weighted) == 6


def test_what_breaks_in_eight_bits_stays_in_floating_point(tmp_path: Path) -> None:
    model = _lower(tmp_path / "model.onnx", _plan("int8"))
    constants = {each.name for each in model.graph.initializer}
    dequantize = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    weights = constants | {node.output[0] for node in dequantize if node.input[0] in constants}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] not in weights]
    assert len(products) == 2  # queries with keys, and their softmax with values
    others = [node for node in model.graph.node if node.op_type in {"Softmax", "ReduceMean"}]
    assert len(others) == 2
    for node in (*products, *others):
        assert not _dequantized(model) & set(node.input), node.name
    quantized = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    softmax = next(node for node in others if node.op_type == "Softmax")
    assert softmax.output[0] not in quantized


def test_depthwise_weights_have_a_scale_per_channel(tmp_path: Path) -> None:
    model = _lower(tmp_path / "model.onnx", _plan("int8"))
    scales = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}["depthwise.weight_scale"]
    assert scales.shape == (WIDTH,)
    assert scales.max() / scales.min() > 100


def test_kept_operators_keep_their_weights(tmp_path: Path, expected: np.ndarray) -> None:
    every = ("stem.weight", "depthwise.weight", "pointwise.weight", "qkv.weight", "out.weight", "head.weight")
    model = _lower(tmp_path / "model.onnx", _plan("int8", keep=("qkv.weight", "head.weight")))
    weights = [numpy_helper.to_array(each) for each in model.graph.initializer]
    for name in ("qkv", "head"):
        wanted = tiny().get_submodule(name).weight.numpy()
        assert any(np.array_equal(each, wanted) or np.array_equal(each, wanted.T) for each in weights)
    assert sum(each.dtype == np.int8 and each.size > WIDTH for each in weights) == 4
    _lower(tmp_path / "all.onnx", _plan("int8", keep=every))
    assert snr_db(expected, _run(tmp_path / "all.onnx")) > 100


def test_weights_alone_are_rounded_per_channel_and_nothing_else(tmp_path: Path) -> None:
    model = _lower(tmp_path / "model.onnx", _plan("int8-weight"))
    rounded = tiny()
    for name, parameter in rounded.named_parameters():
        if name.endswith("weight") and parameter.dim() > 1:
            parameter.copy_(round_weight(parameter, 8))
    with torch.no_grad():
        wanted = rounded(torch.from_numpy(INPUTS)).numpy()
    options = onnxruntime.SessionOptions()
    # At its highest level the runtime rounds the inputs of such linear layers by itself.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    got = np.concatenate([session.run(None, {"image": image[None]})[0] for image in INPUTS])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert not any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_dynamic_takes_every_linear_layer(tmp_path: Path, expected: np.ndarray) -> None:
    model = _lower(tmp_path / "model.onnx", _plan("dynamic-int8"))
    assert sum(node.op_type == "MatMulInteger" for node in model.graph.node) == 3
    assert snr_db(expected, _run(tmp_path / "model.onnx")) > 30


def test_the_same_photos_give_the_same_bytes_and_chunks_lose_none(tmp_path: Path) -> None:
    _lower(tmp_path / "first.onnx", _plan("int8"))
    _lower(tmp_path / "second.onnx", _plan("int8"))
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    few, more = calibration(CHUNK), calibration(CHUNK + 1)
    extreme = more.pixels.copy()
    extreme[:CHUNK] = 96 + few.pixels // 4
    extreme[CHUNK] = np.where(extreme[CHUNK] > 127, 255, 0)
    scales = []
    for pixels in (extreme[:CHUNK], extreme):
        plan = plan_quantization("onnx", "int8", calibration(pixels=pixels), "min-max")
        model = _lower(tmp_path / "scale.onnx", plan)
        scales.append({each.name: each for each in model.graph.initializer}["image_scale"])
    alone, together = (float(numpy_helper.to_array(each)) for each in scales)
    assert together > 1.1 * alone  # the photo after the first full chunk widened the range


class Shared(nn.Module):
    """Products whose weight is no matrix, or has a second reader."""

    def __init__(self, kind: str, *shape: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.weight = nn.Parameter(torch.randn(*shape) / WIDTH**0.5)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).mean(dim=2)
        if self.kind == "vector":
            return self.head(tokens) + (tokens @ self.weight).unsqueeze(1)
        if self.kind == "matrices":
            return self.head((tokens.unsqueeze(1) @ self.weight).squeeze(1))
        if self.kind == "tied":
            return self.head(self.head(tokens) @ self.head.weight)
        return self.head(tokens @ self.weight + (tokens.unsqueeze(1) * self.weight).sum(dim=2))


@pytest.mark.parametrize("precision", ["int8-weight", "int8", "dynamic-int8"])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("vector", (WIDTH,)), ("matrices", (1, WIDTH, WIDTH)), ("multiplied", (WIDTH, WIDTH)), ("tied", (1,))],
)
def test_weights_that_are_no_matrix_or_have_other_readers(
    tmp_path: Path, kind: str, shape: tuple[int, ...], precision: str
) -> None:
    module = Shared(kind, *shape).eval().requires_grad_(requires_grad=False)
    path = tmp_path / "model.onnx"
    lower(module, ExportSpec("onnx", precision=precision), CONTRACT, path, _plan(precision))
    assert snr_db(module(torch.from_numpy(INPUTS)).numpy(), _run(path)) > 25
    if kind == "multiplied":  # once in eight bits, for the product, and once as it was
        stored = [numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
        assert sorted(each.dtype.name for each in stored if each.shape == shape) == ["float32", "int8"]


class Between(nn.Module):
    """Depthwise convolutions: between products, and between a product and what is in floating point."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.between, self.behind = (nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(2))
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(nn.functional.gelu(self.between(torch.relu(self.stem(x)))))
        return (self.behind(x) / 2).flatten(1)


def test_a_depthwise_convolution_is_in_8_bits_between_operators_in_8_bits_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Between().eval().requires_grad_(requires_grad=False), tmp_path / "model.onnx"
    lowering = lower(module, ExportSpec("onnx", precision="int8"), CONTRACT, path, _plan("int8"))
    model = onnx.load(path)
    floating = [n.input[1] for n in model.graph.node if n.op_type == "Conv" and n.input[1] not in _dequantized(model)]
    assert floating == ["behind.weight"]
    assert len(lowering.asked) == 1


@pytest.mark.parametrize(("keep", "done"), [((), {True}), (("first.weight", "hidden.weight"), {False})])
def test_layers_that_share_a_weight_are_quantized_or_kept_together(
    tmp_path: Path, keep: tuple[str, ...], done: set[bool]
) -> None:
    torch.manual_seed(0)
    path, plan = tmp_path / "model.onnx", _plan("int8", keep=keep)
    lower(Tied().eval(), ExportSpec("onnx", precision="int8"), CONTRACT, path, plan)
    layers = read_layers(path)
    assert len(layers) == 4
    assert {layer.quantized and layer.integer for layer in layers} == done
