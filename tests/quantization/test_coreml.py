from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from coremltools.models import MLModel

from mobilevit_tools.analysis.macs import count_macs
from mobilevit_tools.comparison.coreml import read_layers
from mobilevit_tools.exporters._base import ExportSpec, Half
from mobilevit_tools.exporters.coreml import lower, trace
from mobilevit_tools.quantization import coreml
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.quantization.sensitivity import round_weight
from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.coreml import CoremlOptions
from tests.quantization.tiny import (
    CONTRACT,
    MIXED_WEIGHTS,
    SIDE,
    WIDTH,
    calibration,
    fresh_inputs,
    mixed,
    smooth_pixels,
    snr_db,
    tiny,
)

INPUTS = fresh_inputs()


def _expected(net: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(INPUTS)).numpy()


def _lower(folder: Path, precision: str, keep: tuple[str, ...] = (), net: torch.nn.Module | None = None) -> Path:
    photos = calibration() if precision == "int8" else None
    spec = ExportSpec("coreml", precision=precision, options=CoremlOptions(tensor_io=True, deployment_target="iOS18"))
    path = folder / f"{precision}.mlpackage"
    lower(net or tiny(), spec, CONTRACT, path, plan_quantization("coreml", precision, photos, keep=keep))
    return path


def _run(path: Path) -> np.ndarray:
    with open_session(path) as session:
        return np.concatenate([session.run(image[None])[0] for image in INPUTS])


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*.bin"))


@pytest.mark.parametrize(
    ("precision", "least_db"),
    [("int8", 30), ("int8-weight", 40), ("int4-weight", 22), ("palette8", 45), ("palette6", 28), ("palette4", 18)],
)
def test_quantized_packages_compute_the_model(tmp_path: Path, precision: str, least_db: float) -> None:
    assert snr_db(_expected(tiny()), _run(_lower(tmp_path, precision))) > least_db


@pytest.mark.parametrize("precision", ["int8", "int8-weight", "int4-weight", "palette8"])
def test_equal_constants_of_other_operators_do_no_harm(tmp_path: Path, precision: str) -> None:
    # coremltools merges equal constants of a hundred elements and more.
    torch.manual_seed(0)
    hidden = [torch.nn.LayerNorm(128), torch.nn.Linear(128, 128)]
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE**2, 128), *hidden, torch.nn.Linear(128, 10))
    for layer in net[1:4]:
        torch.nn.init.zeros_(layer.bias)
    net.eval().requires_grad_(requires_grad=False)
    assert snr_db(_expected(net), _run(_lower(tmp_path, precision, net=net))) > 15


def test_weights_take_the_room_that_their_bits_say(tmp_path: Path) -> None:
    sizes = [_size(_lower(tmp_path, precision)) for precision in ("fp16", "int8-weight", "palette4")]
    assert sizes[1] < 0.7 * sizes[0]
    assert sizes[2] < 0.7 * sizes[1]


def test_weights_alone_are_rounded_per_channel(tmp_path: Path) -> None:
    rounded = tiny()
    for name, parameter in rounded.named_parameters():
        if name.endswith("weight") and parameter.dim() > 1:
            parameter.copy_(round_weight(parameter, 8))
    assert snr_db(_expected(rounded), _run(_lower(tmp_path, "int8-weight"))) > 52


def test_kept_operators_keep_their_weights(tmp_path: Path) -> None:
    whole = _size(_lower(tmp_path, "int8-weight"))
    kept = _size(_lower(tmp_path / "kept", "int8-weight", ("qkv.weight",)))
    assert kept - whole == pytest.approx(tiny().qkv.weight.numel(), rel=0.2)


def _operations(package: Path) -> Counter[str]:
    spec = MLModel(str(package), skip_model_load=True).get_spec()
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    return Counter(operation.type for operation in block.operations)


@pytest.mark.parametrize("source", ["image", "tensor"])
@pytest.mark.parametrize(("keep", "left"), [((), 7), (("stem.weight", "scaled.weight"), 5), (MIXED_WEIGHTS, 0)])
def test_operators_are_kept_whatever_the_converter_fused_into_them(
    tmp_path: Path, keep: tuple[str, ...], left: int, source: Literal["image", "tensor"]
) -> None:
    # A norm or a constant factor makes other weights of a convolution's, and a product's weight is transposed.
    contract = replace(CONTRACT, input=source)
    spec = ExportSpec("coreml", precision="int8-weight", options=CoremlOptions(source == "tensor", "iOS18"))
    plan = plan_quantization("coreml", "int8-weight", None, keep=keep)
    lower(mixed(), spec, contract, tmp_path / "model.mlpackage", plan)
    found = _operations(tmp_path / "model.mlpackage")
    assert (found["conv"], found["linear"]) == (3, 4)
    assert sum(count for kind, count in found.items() if kind.startswith("constexpr")) == left


def test_layers_are_read_with_what_is_quantized_of_them(tmp_path: Path) -> None:
    net = mixed()
    layers = read_layers(_lower(tmp_path, "int8", ("stem.weight", "product"), net))
    weights = [net.get_parameter(name).numel() for name in MIXED_WEIGHTS]
    done = [layer for layer in layers if layer.quantized]
    assert [layer.kind for layer in layers if not layer.quantized] == ["conv", "conv_transpose", "linear"]
    assert all(layer.integer for layer in done)
    assert sum(layer.values for layer in layers) == sum(weights) + net.up.weight.numel()
    assert sum(layer.values for layer in done) == sum(weights) - net.stem.weight.numel() - net.product.numel()
    assert sum(layer.macs for layer in layers) == count_macs(net, (1, 3, SIDE, SIDE)).total - 2 * 32 * 32 * WIDTH
    assert read_layers(_lower(tmp_path, "palette8", net=net))[0].quantized


def test_kept_operators_keep_their_inputs(tmp_path: Path) -> None:
    found = _operations(_lower(tmp_path, "int8", MIXED_WEIGHTS, mixed()))
    assert not {kind for kind in found if kind.startswith(("constexpr", "quantize", "dequantize"))}


def test_a_weight_that_two_operators_share_is_kept_in_both(tmp_path: Path) -> None:
    net = mixed()
    net.attention.out_proj.weight = net.product
    kept = _operations(_lower(tmp_path, "int8-weight", ("product",), net))
    assert kept["constexpr_blockwise_shift_scale"] == 5


def _program(folder: Path) -> Program:
    return load_program(_lower(folder, "fp32"))


def test_ranges_cover_every_photo_and_not_the_last_alone(tmp_path: Path) -> None:
    program = _program(tmp_path)
    pixels = smooth_pixels(3, seed=5)
    pixels[0] = np.where(pixels[0] > 127, 255, 0)
    together = _ranges(program, pixels, "min-max")
    alone = [_ranges(program, each[None], "min-max") for each in pixels]
    assert {"image", program.graph.outputs[0]} <= set(together)
    for name, measured in together.items():
        assert measured["rmin"] == min(each[name]["rmin"] for each in alone)
        assert measured["rmax"] == max(each[name]["rmax"] for each in alone)
    assert together["image"]["rmax"] > alone[-1]["image"]["rmax"]


def test_percentiles_leave_out_what_is_rare_in_large_tensors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreml, "OUTLIERS", 3 * SIDE**2)
    program = _program(tmp_path)
    pixels = smooth_pixels(2, seed=5)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = 255, 0
    usual, widest = (_ranges(program, pixels, method) for method in ("percentile", "min-max"))
    assert usual["image"]["rmax"] < widest["image"]["rmax"]
    assert usual["image"]["rmin"] > widest["image"]["rmin"]
    assert usual[program.graph.outputs[0]] == widest[program.graph.outputs[0]]


@pytest.mark.parametrize("left_out", [0, 1, 7])
def test_ranges_are_those_of_sorted_values_whatever_their_layout(left_out: int) -> None:
    value = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32).transpose(0, 2, 3, 1)
    before, ordered = value.copy(), np.sort(value, axis=None)
    assert coreml._range(value, left_out) == (ordered[left_out], ordered[-1 - left_out])
    np.testing.assert_array_equal(value, before)


def _ranges(program: Program, pixels: np.ndarray, method: str) -> coreml.Ranges:
    return coreml.measure_ranges(program, calibration(pixels=pixels), method, takes_image=False, batch=1)


def test_only_operators_with_weights_read_eight_bits(tmp_path: Path) -> None:
    program = load_program(_lower(tmp_path, "int8"))
    readers = {
        name: set()
        for operation in program.graph.operations
        if operation.type == "dequantize"
        for name, _ in operation.outputs
    }
    for operation in program.graph.operations:
        for arguments in operation.inputs.values():
            for argument in arguments:
                if isinstance(argument, str) and argument in readers:
                    readers[argument].add(operation.type)
    weighted = [operation for operation in program.graph.operations if operation.type in {"conv", "linear"}]
    assert all(operation.inputs["x"][0] in readers for operation in weighted)
    softmax = next(operation for operation in program.graph.operations if operation.type == "softmax")
    assert softmax.inputs["x"][0] not in readers
    assert all("layer_norm" not in types or types <= {"layer_norm", "add"} for types in readers.values())


def test_what_the_preflight_keeps_in_float32_reads_no_eight_bits(tmp_path: Path) -> None:
    # coremltools gives every activation a scale in half, and refuses one of a convolution in float32.
    torch.manual_seed(0)
    stem, second = torch.nn.Conv2d(3, 32, 4, stride=4), torch.nn.Conv2d(32, 32, 1)
    pooled = [torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    net = torch.nn.Sequential(stem, torch.nn.ReLU(), second, *pooled, torch.nn.Linear(32, 10))
    net.eval().requires_grad_(requires_grad=False)
    stem.weight *= 2e5
    second.weight *= 1e-5
    spec = ExportSpec("coreml", precision="int8", options=CoremlOptions(tensor_io=True, deployment_target="iOS18"))
    path = tmp_path / "kept.mlpackage"
    plan = plan_quantization("coreml", "int8", calibration())
    half = Half(trace(net, spec, CONTRACT), ("conv2d", "relu", "conv2d_1"))
    lower(net, spec, CONTRACT, path, plan, half=half)
    assert snr_db(_expected(net), _run(path)) > 30
