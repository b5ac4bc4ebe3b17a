from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import load_program
from mobilevit_tools.runtimes.coreml.constexpr import _DECODERS, decompress
from mobilevit_tools.runtimes.coreml.dtypes import BY_NAME
from mobilevit_tools.runtimes.coreml.mil import Constant, Graph, Operation, ValueType
from tests.runtimes.coreml.building import PROPERTY, convert, noise


def _decode(kind: str, **parts: np.ndarray) -> Any:
    results = _DECODERS[kind](parts)
    return results[0] if len(results) == 1 else results


def _theirs(kind: str, target: Any, *arguments: Any) -> Any:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return SSAOpRegistry.core_ops[kind][target].decompress(*arguments)


@PROPERTY
@given(data=st.data(), axis=st.integers(-2, 1), signed=st.booleans(), per_channel=st.booleans())
def test_affine_weights(data: st.DataObject, axis: int, signed: bool, per_channel: bool) -> None:
    shape = [data.draw(st.integers(1, 4)) for _ in range(2)]
    rng, dtype = np.random.default_rng(0), np.int8 if signed else np.uint8
    low, high = (-128, 128) if signed else (0, 256)
    size = (shape[axis],) if per_channel else ()
    quantized, zero = rng.integers(low, high, shape).astype(dtype), rng.integers(low, high, size).astype(dtype)
    scale = rng.uniform(0.01, 1, size).astype(np.float32)
    zero, scale = np.asarray(zero), np.asarray(scale)
    ours = _decode(
        "constexpr_affine_dequantize", quantized_data=quantized, zero_point=zero, scale=scale, axis=np.int32(axis)
    )
    theirs = _theirs("constexpr_affine_dequantize", ct.target.iOS16, quantized, zero, scale, axis)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@PROPERTY
@given(data=st.data(), shifted=st.booleans())
def test_blockwise_weights(data: st.DataObject, shifted: bool) -> None:
    groups = [data.draw(st.integers(1, 3)) for _ in range(2)]
    shape = [group * data.draw(st.integers(1, 3)) for group in groups]
    rng = np.random.default_rng(1)
    quantized = rng.integers(-8, 8, shape).astype(np.int8)
    scale = rng.uniform(0.01, 1, groups).astype(np.float32)
    offset = rng.integers(-8, 8, groups).astype(np.int8) if shifted else None
    parts = {"data": quantized, "scale": scale} | ({} if offset is None else {"offset": offset})
    theirs = _theirs("constexpr_blockwise_shift_scale", ct.target.iOS18, quantized, scale, offset)
    np.testing.assert_allclose(_decode("constexpr_blockwise_shift_scale", **parts), theirs, rtol=1e-6)
    mask = (rng.random(shape) < 0.5).astype(np.uint8)
    values = quantized[mask != 0]
    sparse = {"data_mask": mask, "nonzero_data": values, "scale": scale} | (
        {} if offset is None else {"offset": offset}
    )
    theirs = _theirs("constexpr_sparse_blockwise_shift_scale", ct.target.iOS18, mask, values, scale, offset)
    for mine, other in zip(_decode("constexpr_sparse_blockwise_shift_scale", **sparse), theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)


@PROPERTY
@given(data=st.data(), bits=st.sampled_from([1, 2, 3, 4, 6, 8]), vector=st.integers(1, 3), axis=st.integers(0, 1))
def test_palettes_by_block_and_by_vector(data: st.DataObject, bits: int, vector: int, axis: int) -> None:
    groups = [data.draw(st.integers(1, 2)) for _ in range(2)]
    shape = [group * data.draw(st.integers(1, 3)) for group in groups]
    rng = np.random.default_rng(2)
    indices = rng.integers(0, 1 << bits, shape).astype(np.uint8)
    lut = rng.standard_normal((*groups, 1 << bits, vector)).astype(np.float32)
    along = np.int32(axis) if vector > 1 else None
    parts = {"indices": indices, "lut": lut} | ({} if along is None else {"vector_axis": along})
    theirs = _theirs("constexpr_lut_to_dense", ct.target.iOS18, indices, lut, along)
    np.testing.assert_array_equal(_decode("constexpr_lut_to_dense", **parts), theirs)
    mask = (rng.random(shape) < 0.6).astype(np.uint8)
    values = indices[mask != 0]
    sparse = {"indices_mask": mask, "indices_nonzero_data": values, "lut": lut}
    theirs = _theirs("constexpr_lut_to_sparse", ct.target.iOS18, mask, values, lut, along)
    ours = _decode("constexpr_lut_to_sparse", **sparse, **({} if along is None else {"vector_axis": along}))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


@PROPERTY
@given(data=st.data(), bits=st.sampled_from([1, 2, 4, 6, 8]))
def test_packed_palettes_and_masks(data: st.DataObject, bits: int) -> None:
    from coremltools.optimize._utils import pack_elements_into_bits

    shape = [data.draw(st.integers(1, 5)) for _ in range(2)]
    rng = np.random.default_rng(3)
    indices, lut = rng.integers(0, 1 << bits, shape), rng.standard_normal(1 << bits).astype(np.float32)
    packed = pack_elements_into_bits(indices.reshape(-1).astype(np.uint8), bits)
    ours = _decode("constexpr_lut_to_dense", indices=packed, lut=lut, shape=np.array(shape, np.uint32))
    np.testing.assert_array_equal(ours, lut[indices])
    dense = rng.standard_normal(shape).astype(np.float32) * (rng.random(shape) < 0.5)
    mask = np.packbits(dense.reshape(-1) != 0, bitorder="little")
    ours = _decode(
        "constexpr_sparse_to_dense", nonzero_data=dense[dense != 0], mask=mask, shape=np.array(shape, np.uint32)
    )
    np.testing.assert_array_equal(ours, dense)
    ours = _decode("constexpr_sparse_to_dense", nonzero_data=dense[dense != 0], mask=(dense != 0).astype(np.uint8))
    np.testing.assert_array_equal(ours, dense)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 32, 3)
        self.head = torch.nn.Linear(32, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.manual_seed(0)
    net, folder = Net(), tmp_path_factory.mktemp("plain")
    example = torch.randn(1, 3, 8, 8)
    paths = [folder / f"{name}.mlpackage" for name in ("iOS16", "iOS18")]
    for path, target in zip(paths, (ct.target.iOS16, ct.target.iOS18), strict=True):
        convert(net, example, path, minimum_deployment_target=target, compute_precision=ct.precision.FLOAT16)
    return paths[0], paths[1]


def _affine(**options: Any) -> Any:
    config = cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0, **options)
    return lambda model: cto.coreml.linear_quantize_weights(model, cto.coreml.OptimizationConfig(config))


def _palette(*, joint: bool = False, **options: Any) -> Any:
    config = cto.coreml.OpPalettizerConfig(mode="uniform", weight_threshold=0, **options)
    return lambda model: cto.coreml.palettize_weights(model, cto.coreml.OptimizationConfig(config), joint)


def _sparse(model: Any) -> Any:
    config = cto.coreml.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
    return cto.coreml.prune_weights(model, cto.coreml.OptimizationConfig(config))


COMPRESSIONS = {
    "int8": (0, _affine(dtype="int8"), 35, {"constexpr_affine_dequantize"}),
    "palette_4": (0, _palette(nbits=4), 14, {"constexpr_lut_to_dense"}),
    "sparse": (0, _sparse, 5, {"constexpr_sparse_to_dense"}),
    "int4_blocks": (
        1,
        _affine(dtype="int4", granularity="per_block", block_size=8),
        14,
        {"constexpr_blockwise_shift_scale"},
    ),
    "palette_3_groups": (
        1,
        _palette(nbits=3, granularity="per_grouped_channel", group_size=16),
        8,
        {"constexpr_lut_to_dense"},
    ),
    "sparse_palette": (
        1,
        lambda model: _palette(nbits=4, joint=True)(_sparse(model)),
        5,
        {"constexpr_lut_to_sparse", "constexpr_sparse_to_dense"},
    ),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_packages_run_close_to_the_plain_one(name: str, plain: tuple[Path, Path], tmp_path: Path) -> None:
    which, compress, decibels, kinds = COMPRESSIONS[name]
    model = compress(ct.models.MLModel(str(plain[which]), skip_model_load=True))
    path = tmp_path / "compressed.mlpackage"
    model.save(str(path))
    program, reference = load_program(path), load_program(plain[which])
    assert program.unsupported == ()
    assert {operation.type for operation in program.graph.compressed} == kinds
    assert program.operators == reference.operators
    given = {reference.inputs[0].name: noise(1, 3, 8, 8)}
    ours, theirs = (next(iter(entry.run(given).values())) for entry in (program, reference))
    error = np.square(ours - theirs).sum()
    assert error > 0
    assert 10 * np.log10(np.square(theirs).sum() / error) > decibels


def _graph(**parts: np.ndarray) -> Graph:
    constants = {key: Constant(value, BY_NAME[value.dtype.name.replace("float", "fp")]) for key, value in parts.items()}
    declared = ValueType(BY_NAME["fp32"], (2, 2))
    operation = Operation("w", "constexpr_blockwise_shift_scale", {key: (key,) for key in parts}, (("w", declared),))
    return Graph({}, (), (), constants, (operation,), "CoreML8")


@pytest.mark.parametrize("count", [0, 2])
def test_a_weight_with_another_number_of_results_is_refused(count: int) -> None:
    whole = _graph(data=np.zeros((2, 2), np.int8), scale=np.ones((2, 1), np.float32))
    assert list(decompress(whole)) == ["data", "scale", "w"]
    (operation,) = whole.compressed
    damaged = dataclasses.replace(operation, outputs=operation.outputs * count)
    with pytest.raises(BadInputError, match="'w' is damaged"):
        decompress(dataclasses.replace(whole, compressed=(damaged,)))


def test_text_is_no_weight() -> None:
    constants = {
        "mask": Constant(np.ones((1, 2), np.uint8), BY_NAME["uint8"]),
        "nonzero_data": Constant(np.array(["red", "green"], object), BY_NAME["string"]),
    }
    inputs = {key: (key,) for key in constants}
    operation = Operation("w", "constexpr_sparse_to_dense", inputs, (("w", ValueType(BY_NAME["fp32"], (1, 2))),))
    with pytest.raises(BadInputError, match="'w' is damaged"):
        decompress(Graph({}, (), (), constants, (operation,), "CoreML8"))


def test_parts_that_would_make_a_weight_larger_than_their_data_are_refused() -> None:
    operation = Operation(
        "w",
        "constexpr_affine_dequantize",
        {key: (key,) for key in ("quantized_data", "scale", "zero_point", "axis")},
        (("w", ValueType(BY_NAME["fp32"], (2, 1))),),
    )
    size = 1 << 20
    parts = {
        "quantized_data": np.zeros((size, 1), np.int8),
        "scale": np.ones(size, np.float32),
        "zero_point": np.zeros(size, np.int8),
        "axis": np.int32(1),
    }
    constants = {key: Constant(value, BY_NAME["fp32"]) for key, value in parts.items()}  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="'w' is damaged"):
        decompress(Graph({}, (), (), constants, (operation,), "CoreML8"))


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInputError, match="'w' is damaged"):
        decompress(_graph(data=np.zeros((3, 2), np.int8), scale=np.ones((2, 1), np.float32)))
    with pytest.raises(BadInputError, match="'w' is damaged"):
        decompress(_graph(data=np.zeros((2, 2), np.int8)))
    with pytest.raises(BadInputError, match=r"has shape \(4, 2\)"):
        decompress(_graph(data=np.zeros((4, 2), np.int8), scale=np.ones((2, 1), np.float32)))
