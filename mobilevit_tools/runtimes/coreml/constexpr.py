"""Weights that a program stores compressed: quantized, palettized, sparse, or several of these at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from mobilevit_tools.errors import BadInputError

from .damage import UNFIT
from .dtypes import BY_NAME, unpack
from .mil import Constant, Graph, Operation

Arrays = Mapping[str, np.ndarray]


def decompress(graph: Graph) -> dict[str, Constant]:
    """Every constant of ``graph`` by name, with the results of its ``constexpr_*`` operations.

    Results have the element type that the program declares for them: a weight whose scale is fp16 is an fp16 weight.

    Raises:
        BadInputError: Stored parts of a weight do not fit each other.
    """
    known = dict(graph.constants)
    for operation in graph.compressed:
        decoder = _DECODERS.get(operation.type)
        if decoder is None:  # reported by the program as an operator that the runtime lacks
            continue
        try:
            arguments = {key: _argument(known, values) for key, values in operation.inputs.items()}
            for (name, declared), result in zip(operation.outputs, decoder(arguments), strict=True):
                if declared.shape != result.shape:
                    raise BadInputError(
                        f"The compressed weight {name!r} has shape {result.shape} where the program says "
                        f"{declared.shape}."
                    )
                known[name] = Constant(result.astype(declared.element.storage), declared.element)
        except UNFIT as error:
            raise BadInputError(
                f"The compressed weight {operation.name!r} is damaged: its parts do not fit each other."
            ) from error
    return known


def unsupported(operations: tuple[Operation, ...]) -> set[str]:
    """Types of ``constexpr_*`` operations that :func:`decompress` lacks."""
    return {operation.type for operation in operations} - set(_DECODERS)


def _argument(known: Mapping[str, Constant], values: tuple[str | Constant, ...]) -> np.ndarray:
    (value,) = values
    return (known[value] if isinstance(value, str) else value).value


def _affine(parts: Arrays) -> tuple[np.ndarray, ...]:
    data = parts["quantized_data"].astype(np.float32)
    shape = [1] * data.ndim
    shape[int(parts["axis"])] = -1
    scale, zero = (parts[key].astype(np.float32) for key in ("scale", "zero_point"))
    scale, zero = (value.reshape(shape) if value.ndim else value for value in (scale, zero))
    if np.broadcast_shapes(data.shape, scale.shape, zero.shape) != data.shape:
        raise ValueError("more scales or zero points than channels")
    return (scale * (data - zero),)


def _cast(parts: Arrays) -> tuple[np.ndarray, ...]:
    return (parts["source_val"].astype(BY_NAME[str(parts["output_dtype"])].storage),)


def _blocks(shape: tuple[int, ...], groups: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Index arrays that repeat an array of shape ``groups`` blockwise over ``shape``."""
    if len(shape) != len(groups) or any(group == 0 or size % group for size, group in zip(shape, groups, strict=True)):
        raise ValueError(f"blocks {groups} do not tile {shape}")
    return np.ix_(*(np.arange(size) // (size // group) for size, group in zip(shape, groups, strict=True)))


def _shift_scale(data: np.ndarray, parts: Arrays) -> np.ndarray:
    where = _blocks(data.shape, parts["scale"].shape)
    shifted = data.astype(np.float32)
    if "offset" in parts:
        shifted = shifted - parts["offset"].astype(np.float32)[where]
    scaled: np.ndarray = parts["scale"].astype(np.float32)[where] * shifted
    return scaled


def _blockwise(parts: Arrays) -> tuple[np.ndarray, ...]:
    return (_shift_scale(parts["data"], parts),)


def _palette(indices: np.ndarray, parts: Arrays) -> np.ndarray:
    lut = parts["lut"]
    groups, (entries, vector) = lut.shape[:-2], lut.shape[-2:]
    group = np.arange(math.prod(groups)).reshape(groups)[_blocks(indices.shape, groups)]
    values: np.ndarray = lut.reshape(-1, entries, vector)[group, indices]
    if vector == 1:
        return np.squeeze(values, -1)
    axis = int(parts["vector_axis"]) % indices.ndim
    shape = [size * vector if dim == axis else size for dim, size in enumerate(indices.shape)]
    return np.moveaxis(values, -1, axis + 1).reshape(shape)


def _lut_to_dense(parts: Arrays) -> tuple[np.ndarray, ...]:
    if "shape" not in parts:
        return (_palette(parts["indices"], parts),)
    shape, lut = _shape(parts), parts["lut"]  # iOS 16: one table, indices packed into bytes
    bits = {2: 1, 4: 2, 8: 3, 16: 4, 64: 6, 256: 8}[lut.size]
    packed = parts["indices"].astype(np.uint8).tobytes()
    return (lut[unpack(packed, BY_NAME[f"uint{bits}"], math.prod(shape))].reshape(shape),)


def _scatter(mask: np.ndarray, nonzero: np.ndarray) -> np.ndarray:
    dense = np.zeros(mask.shape, nonzero.dtype)
    dense[mask != 0] = nonzero
    return dense


def _sparse_to_dense(parts: Arrays) -> tuple[np.ndarray, ...]:
    mask = parts["mask"]
    if "shape" in parts:  # iOS 16: the mask is packed into bytes
        shape = _shape(parts)
        mask = unpack(mask.astype(np.uint8).tobytes(), BY_NAME["uint1"], math.prod(shape)).reshape(shape)
    return (_scatter(mask, parts["nonzero_data"]),)


def _lut_to_sparse(parts: Arrays) -> tuple[np.ndarray, ...]:
    mask = parts["indices_mask"]
    dense = _palette(_scatter(mask, parts["indices_nonzero_data"]), parts)
    vector = parts["lut"].shape[-1]
    if vector > 1:
        mask = np.repeat(mask, vector, axis=int(parts["vector_axis"]))
    return mask, dense[mask != 0]


def _sparse_blockwise(parts: Arrays) -> tuple[np.ndarray, ...]:
    mask = parts["data_mask"]
    dense = _shift_scale(_scatter(mask, parts["nonzero_data"]), parts)
    return mask, dense[mask != 0]


def _shape(parts: Arrays) -> tuple[int, ...]:
    return tuple(int(size) for size in parts["shape"])


_DECODERS: Mapping[str, Callable[[Arrays], tuple[np.ndarray, ...]]] = {
    "constexpr_affine_dequantize": _affine,
    "constexpr_blockwise_shift_scale": _blockwise,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
