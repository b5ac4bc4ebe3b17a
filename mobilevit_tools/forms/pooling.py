"""Pooling over windows that converters lack or divide otherwise, and maxima over an axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.forms.means import averaged, axes_of
from mobilevit_tools.forms.products import on_both_axes
from mobilevit_tools.forms.views import has_sizes


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


def adaptive_average(x: Tensor, output_size: Sequence[int]) -> Any:
    """Write adaptive average pooling over the last one or two axes as a mean, average pooling or products.

    The windows are those of :func:`adaptive_max_pool`; where they differ, a matrix has their weights.
    """
    rank = len(output_size)
    if x.dim() != rank + 2 or not has_sizes(x) or not x.is_floating_point():
        return NotImplemented
    sides = x.shape[-rank:]
    if set(output_size) == {1}:
        return averaged(x, range(2, x.dim()), keepdim=True)
    if rank == 1:
        return F.linear(x, _mean_windows(x, sides[0], output_size[0]))
    if all(side % size == 0 for side, size in zip(sides, output_size, strict=True)):
        return F.avg_pool2d(x, [side // size for side, size in zip(sides, output_size, strict=True)])
    return on_both_axes(x, *(_mean_windows(x, *each) for each in zip(sides, output_size, strict=True)))


def whole_average(x: Tensor, output_size: Sequence[int]) -> Any:
    """Write average pooling of a whole map to one value as a mean."""
    return x.mean((-2, -1), keepdim=True) if set(output_size) == {1} else NotImplemented


def _mean_windows(x: Tensor, side: int, size: int) -> Tensor:
    """Return the matrix (size, side) that averages windows of an axis: what pooling makes of an identity."""
    return F.adaptive_avg_pool2d(torch.eye(side, dtype=x.dtype)[None, None], (size, side))[0, 0]


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


def pooled_largest(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, None]:
    """Write the values of a maximum over an axis as max pooling, without their indices."""
    pooled = largest_along(x, dim, keepdim)
    return largest(x, dim, keepdim) if pooled is NotImplemented else (pooled, None)


def largest_along(x: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Any:
    """Write a maximum over neighbouring axes as max pooling, whose window is all of them."""
    axes = axes_of(x, dim)
    if not x.is_floating_point() or axes != [*range(axes[0], axes[-1] + 1)]:
        return NotImplemented
    if x.dim() == 4 and axes[0] >= 2:
        pooled = F.max_pool2d(x, [x.shape[axis] if axis in axes else 1 for axis in (2, 3)])
    else:
        before, count = math.prod(x.shape[: axes[0]]), math.prod(x.shape[axis] for axis in axes)
        pooled = F.max_pool2d(x.reshape(1, before, count, -1), (count, 1))
    return pooled.reshape(
        [1 if axis in axes else size for axis, size in enumerate(x.shape) if keepdim or axis not in axes]
    )


def smallest_along(x: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Any:
    """Write a minimum over neighbouring axes as the maximum of what is negated."""
    found = largest_along(-x, dim, keepdim)
    return found if found is NotImplemented else -found


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


def whole_windows(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Write average pooling whose windows hang over an edge, or have a divisor, as whole windows over padded maps.

    Runtimes divide a window that hangs over by the whole kernel or by what is inside; each window here is whole, and
    its average is scaled by the elements of the kernel over those that torch counts.
    """
    rank = len(kernel_size)
    kernel, pads = _for_each(kernel_size, rank), _for_each(padding, rank)
    steps = _for_each(stride, rank) if stride else kernel
    sides = list(x.shape[-rank:])
    rows = list(zip(sides, kernel, steps, pads, strict=True))
    over = [_overhang(side + 2 * pad, size, step, pad) if ceil_mode else 0 for side, size, step, pad in rows]
    if divisor_override is None and not any(over):
        return NotImplemented
    around = [width for pad, more in zip(reversed(pads), reversed(over), strict=True) for width in (pad, pad + more)]
    padded = F.pad(x, around) if any(around) else x
    average: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
    pooled = average(padded, kernel, steps)
    if divisor_override is not None:
        return pooled * (math.prod(kernel) / divisor_override)
    for axis, (side, size, step, pad) in enumerate(rows, -rank):
        counted = pad if count_include_pad else 0
        starts = [index * step - pad for index in range(pooled.shape[axis])]
        inside = [min(start + size, side + counted) - max(start, -counted) for start in starts]
        pooled = _scaled_along(pooled, axis, [size / count for count in inside])
    return pooled


def floored_average(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Write average pooling without windows that would start behind the map, which torch drops and others count."""
    rank = len(kernel_size)
    kernel, pads = _for_each(kernel_size, rank), _for_each(padding, rank)
    steps = _for_each(stride, rank) if stride else kernel
    rows = list(zip(x.shape[-rank:], kernel, steps, pads, strict=True))
    if not ceil_mode or divisor_override is not None or not any(_drops_one(*row) for row in rows):
        return NotImplemented
    if any(_overhang(side + 2 * pad, size, step, pad) for side, size, step, pad in rows):
        return whole_windows(x, kernel, steps, pads, ceil_mode, count_include_pad)
    average: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
    return average(x, kernel, steps, pads, False, count_include_pad)


def plain_average(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Write average pooling without rounding up, a divisor of its own or padding that counts."""
    padded = count_include_pad and any(padding)
    if not ceil_mode and divisor_override is None and not padded:
        return NotImplemented
    found = whole_windows(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    if found is not NotImplemented:
        return found
    kernel, (rows, columns) = _for_each(kernel_size, 2), _for_each(padding, 2)
    steps = _for_each(stride, 2) if stride else kernel
    if not padded:
        return F.avg_pool2d(x, kernel, steps, (rows, columns), count_include_pad=False)
    return F.avg_pool2d(F.pad(x, (columns, columns, rows, rows)), kernel, steps)


def floored_maximum(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Any:
    """Write max pooling without windows that would start behind the map, which torch drops and others count."""
    rank = len(kernel_size)
    kernel, pads, gaps = (_for_each(each, rank) for each in (kernel_size, padding, dilation))
    steps = _for_each(stride, rank) if stride else kernel
    spans = [gap * (size - 1) + 1 for gap, size in zip(gaps, kernel, strict=True)]
    rows = list(zip(x.shape[-rank:], spans, steps, pads, strict=True))
    if not ceil_mode or not any(_drops_one(*row) for row in rows):
        return NotImplemented
    over = [_overhang(side + 2 * pad, span, step, pad) for side, span, step, pad in rows]
    around = [width for pad, more in zip(reversed(pads), reversed(over), strict=True) for width in (pad, pad + more)]
    pool: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[rank]
    if not any(over):
        return pool(x, kernel, steps, pads, gaps)
    return pool(F.pad(x, around, value=torch.finfo(torch.float32).min), kernel, steps, 0, gaps)


def _scaled_along(x: Tensor, axis: int, factors: Sequence[float]) -> Tensor:
    """Multiply what lies along an axis by a factor each; neighbours of one factor at once."""
    parts, start = [], 0
    for factor, run in itertools.groupby(factors):
        count = len(list(run))
        part = x.narrow(axis, start, count)
        parts.append(part if factor == 1 else part * factor)
        start += count
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


def dilated_maximum(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Any:
    """Write max pooling over windows with gaps, along one axis or two, as the largest of shifted maps."""
    if max(dilation) == 1:
        return NotImplemented
    if len(kernel_size) == 1:
        window, step = [1, *kernel_size], [1, *(stride or kernel_size)]
        return dilated_maximum(x.unsqueeze(-2), window, step, [0, *padding], [1, *dilation], ceil_mode).squeeze(-2)
    gaps, kernel, pads = _for_each(dilation, 2), _for_each(kernel_size, 2), _for_each(padding, 2)
    steps = _for_each(stride, 2) if stride else kernel
    spans = [gap * (size - 1) + 1 for gap, size in zip(gaps, kernel, strict=True)]
    rows = list(zip(x.shape[-2:], spans, steps, pads, strict=True))
    over = [_overhang(side + 2 * pad, span, step, pad) if ceil_mode else 0 for side, span, step, pad in rows]
    around = (pads[1], pads[1] + over[1], pads[0], pads[0] + over[0])
    padded = F.pad(x, around, value=torch.finfo(torch.float32).min) if any(around) else x
    counts = [
        (side + 2 * pad + more - span) // step + 1 for (side, span, step, pad), more in zip(rows, over, strict=True)
    ]
    best: Tensor | None = None
    for down, right in itertools.product(range(kernel[0]), range(kernel[1])):
        top, left = down * gaps[0], right * gaps[1]
        rows_of = padded[..., top : top + (counts[0] - 1) * steps[0] + 1 : steps[0], :]
        shifted = rows_of[..., left : left + (counts[1] - 1) * steps[1] + 1 : steps[1]]
        best = shifted if best is None else torch.maximum(best, shifted)
    return best


def _drops_one(side: int, size: int, step: int, pad: int) -> bool:
    """Tell whether rounding up counts a last window that starts behind the map and the padding before it."""
    count = -(-(side + 2 * pad - size) // step) + 1
    return (count - 1) * step >= side + pad


def _overhang(padded: int, size: int, step: int, pad: int) -> int:
    """Return by how much the last window hangs over; it has to start within the map or the padding before it."""
    count = -(-(padded - size) // step) + 1
    if (count - 1) * step >= padded - pad:
        count -= 1
    return max((count - 1) * step + size - padded, 0)
