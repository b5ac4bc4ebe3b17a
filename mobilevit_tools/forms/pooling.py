"""Pooling over windows that converters lack or divide otherwise, and maxima over an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def adaptive_max_pool(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, None]:
    """Write adaptive max pooling over the last one or two axes as max pooling; its indices are not made.

    Where a size is no multiple of what it becomes, the windows differ, and each is pooled by itself: window i of n over
    L values is [floor(i L / n), ceil((i + 1) L / n)).
    """
    maps = x if len(output_size) == 2 else x.unsqueeze(-2)
    sizes = [1, *output_size][-2:]
    if all(side % size == 0 for side, size in zip(maps.shape[-2:], sizes, strict=True)):
        kernel = [side // size for side, size in zip(maps.shape[-2:], sizes, strict=True)]
        pooled = F.max_pool2d(maps, kernel)
    else:
        pooled = _windows(_windows(maps, sizes[0], -2), sizes[1], -1)
    return pooled if len(output_size) == 2 else pooled.squeeze(-2), None


def _windows(x: Tensor, size: int, axis: int) -> Tensor:
    side, parts = x.shape[axis], []
    for index in range(size):
        start, stop = index * side // size, -(-(index + 1) * side // size)
        window = x.narrow(axis, start, stop - start)
        parts.append(F.max_pool2d(window, (stop - start, 1) if axis == -2 else (1, stop - start)))
    return torch.cat(parts, dim=axis)


def largest(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, None]:
    """Write the values of a maximum over an axis without their indices."""
    return x.amax(dim, keepdim=keepdim), None


def overridden_average(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    axes: int = 2,
) -> Any:
    """Write average pooling with a divisor of its own as whole windows over padded maps, times what that changes."""
    if divisor_override is None:
        return NotImplemented
    kernel, pads = _for_each(kernel_size, axes), _for_each(padding, axes)
    steps = _for_each(stride, axes) if stride else kernel
    after = [
        pad + (_overhang(side + 2 * pad, size, step, pad) if ceil_mode else 0)
        for side, size, step, pad in zip(x.shape[-axes:], kernel, steps, pads, strict=True)
    ]
    around = [side for pair in zip(reversed(pads), reversed(after), strict=True) for side in pair]
    pool = F.avg_pool2d if axes == 2 else F.avg_pool3d
    return pool(F.pad(x, around) if any(around) else x, kernel, steps) * (math.prod(kernel) / divisor_override)


overridden_average_of_volumes = partial(overridden_average, axes=3)
"""The same for average pooling over three axes."""


def _for_each(values: Sequence[int], axes: int) -> list[int]:
    return [*values] * axes if len(values) == 1 else [*values]


def _overhang(padded: int, size: int, step: int, pad: int) -> int:
    """Return by how much the last window hangs over; it has to start within the map or the padding before it."""
    count = -(-(padded - size) // step) + 1
    if (count - 1) * step >= padded - pad:
        count -= 1
    return max((count - 1) * step + size - padded, 0)
