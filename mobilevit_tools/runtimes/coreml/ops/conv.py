"""Convolutions and transposed convolutions of one to three spatial dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilevit_tools.errors import BadInputError

from .registry import Ints, operator

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

Pads = tuple[tuple[int, int], ...]


def padding(pad_type: str, pad: Ints, sizes: Ints, kernel: Ints, strides: Ints) -> Pads:
    """Elements to add (before, after) each spatial dimension.

    ``same`` pads so that ceil(size / stride) windows fit and puts an odd element after, ``same_lower`` before.

    Args:
        pad_type: ``valid``, ``custom``, ``same`` or ``same_lower``.
        pad: (before, after) of each dimension in one row, for ``custom``.
        sizes: Spatial sizes of the input.
        kernel: Extent of the window, dilation included.
        strides: Step of the window.
    """
    if pad_type == "valid":
        return ((0, 0),) * len(sizes)
    if pad_type == "custom":
        pad = pad or (0, 0) * len(sizes)
        return tuple(zip(pad[::2], pad[1::2], strict=True))
    if pad_type not in {"same", "same_lower"}:
        raise BadInputError(f"An operator has the unknown pad_type {pad_type!r}.")
    pads = []
    for size, extent, stride in zip(sizes, kernel, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if pad_type == "same" else (large, small))
    return tuple(pads)


def pad_spatial(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """Pad the last ``len(pads)`` dimensions with a constant."""
    if not any(map(any, pads)):
        return x
    return F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)


def channels_last(weight: Tensor) -> Tensor:
    """The layout in which torch convolves fastest; results of such a weight have it too, and so the rest of a model."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight


@operator("conv", laid_out={"weight": channels_last})
def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints = (),
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    dims = x.ndim - 2
    strides, dilations = strides or (1,) * dims, dilations or (1,) * dims
    extent = tuple((size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True))
    pads = padding(pad_type, pad, tuple(x.shape[2:]), extent, strides)
    inner = tuple(before for before, _ in pads)
    if any(before != after for before, after in pads):
        x, inner = pad_spatial(x, pads), (0,) * dims
    return _CONV[dims](x, weight, bias, strides, inner, dilations, groups)


@operator("conv_transpose")
def _conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pad: Ints = (),
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv``: the full result, cropped by the padding, or extended where it asks for more."""
    dims = x.ndim - 2
    strides, dilations = strides or (1,) * dims, dilations or (1,) * dims
    full = _CONV_TRANSPOSE[dims](x, weight, None, strides, 0, 0, groups, dilations)
    for dim, stride in enumerate(strides):
        available, size = full.shape[dim + 2], x.shape[dim + 2]
        before, after = _cropped(pad_type, pad[2 * dim : 2 * dim + 2], available - size * stride)
        wanted = output_shape[dim + 2] if output_shape else available - before - after
        if wanted > available - before:
            missing = (0, wanted + before - available)
            full = pad_spatial(full, tuple(missing if other == dim else (0, 0) for other in range(dims)))
        full = full.narrow(dim + 2, before, wanted)
    return full if bias is None else full + bias.reshape(-1, *[1] * dims)


def _cropped(pad_type: str, pad: Ints, surplus: int) -> tuple[int, int]:
    if pad_type not in {"valid", "custom", "same"}:
        raise BadInputError(f"A conv_transpose operator has the unknown pad_type {pad_type!r}.")
    if pad_type == "custom" and pad:
        return pad[0], pad[1]
    if pad_type == "same":
        before = max(surplus, 0) // 2
        return before, surplus - before
    return 0, 0
