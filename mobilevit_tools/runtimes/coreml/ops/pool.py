"""Pooling over one to three spatial dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .conv import Pads, pad_spatial, padding
from .registry import Ints, operator

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _windows(x: Tensor, kernel: Ints, strides: Ints, *, pad_type: str, pad: Ints, ceil_mode: bool) -> tuple[Pads, Pads]:
    """The padding, and what lies past it so that the last window of ``ceil_mode`` is whole."""
    sizes = tuple(x.shape[2:])
    pads = padding(pad_type, pad, sizes, kernel, strides)
    overhang = []
    for size, extent, stride, (before, after) in zip(sizes, kernel, strides, pads, strict=True):
        padded = size + before + after
        extra = 0
        if ceil_mode:
            count = -(-(padded - extent) // stride) + 1
            if (count - 1) * stride >= size + before and before + after > 0:
                count -= 1  # a window may not start in the padding after the input
            extra = max((count - 1) * stride + extent - padded, 0)
        overhang.append((0, extra))
    return pads, tuple(overhang)


@operator("max_pool")
def _max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    *,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints = (),
    ceil_mode: bool = False,
) -> Tensor:
    strides = strides or (1,) * len(kernel_sizes)
    pads, overhang = _windows(x, kernel_sizes, strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    padded = pad_spatial(pad_spatial(x, pads, -math.inf), overhang, -math.inf)
    return _MAX[x.ndim - 2](padded, kernel_sizes, strides)


@operator("avg_pool")
def _avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    *,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints = (),
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Tensor:
    """Averages: padding, and what lies past it in ``ceil_mode``, counts as zeros unless excluded.

    Core ML treats the overhang of ``ceil_mode`` as padding (coremltools issue 2772), which PyTorch never counts.
    """
    strides = strides or (1,) * len(kernel_sizes)
    pads, overhang = _windows(x, kernel_sizes, strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    pool = _AVERAGE[x.ndim - 2]
    average = pool(pad_spatial(pad_spatial(x, pads), overhang), kernel_sizes, strides)
    if not exclude_padding_from_average:
        return average
    inside = torch.ones(1, 1, *x.shape[2:])
    return average / pool(pad_spatial(pad_spatial(inside, pads), overhang), kernel_sizes, strides)


@operator("l2_pool")
def _l2_pool(
    x: Tensor,
    kernel_sizes: Ints,
    *,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints = (),
    ceil_mode: bool = False,
) -> Tensor:
    strides = strides or (1,) * len(kernel_sizes)
    pads, overhang = _windows(x, kernel_sizes, strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    squares = pad_spatial(pad_spatial(x.square(), pads), overhang)
    return (_AVERAGE[x.ndim - 2](squares, kernel_sizes, strides) * math.prod(kernel_sizes)).sqrt()
