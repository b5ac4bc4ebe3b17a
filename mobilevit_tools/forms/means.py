"""Means and sums over any axes, and what is made of them, in pooling, convolutions and products with constants.

The mean over the two axes of a map is a global average pooling, over the channels of a map a convolution of one pixel,
over the last axes a product with a vector of 1/n, and over axes in between the product of such a vector with each of
the matrices that they make with those behind them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Axes: TypeAlias = int | Sequence[int] | None
_MAP = [2, 3]
MOST_SUMMED = 1024
"""Values of a map whose mean is taken at once."""
WINDOW = 64
"""Values that are averaged first of a larger one."""


def mean(x: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """Write a mean as pooling, a convolution or a product; one over a small map that keeps its axes stays."""
    axes = axes_of(x, dim)
    if not _is_known(x, dtype) or (x.dim() == 4 and axes == _MAP and keepdim and not _first_windows(x)):
        return NotImplemented
    return averaged(x, axes, keepdim=keepdim)


def mean_of_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Any:
    """Write the mean of all values as a product."""
    return mean(x, None, dtype=dtype)


def total(x: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """Write a sum as a product or a convolution, or as a mean over a map times its pixels."""
    axes = axes_of(x, dim)
    if not _is_known(x, dtype):
        return NotImplemented
    return summed(x, axes, keepdim=keepdim)


def total_of_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Any:
    """Write the sum of all values as a product."""
    return total(x, None, dtype=dtype)


def variance(x: Tensor, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False) -> Any:
    """Write a variance as the mean of squares about the mean, times n / (n - correction)."""
    axes = axes_of(x, dim)
    count = math.prod(x.shape[axis] for axis in axes)
    rest = count - (1 if correction is None else correction)
    if not _is_known(x, None) or rest <= 0:
        return NotImplemented
    differences = x - averaged(x, axes, keepdim=True)
    found = averaged(differences * differences, axes, keepdim=keepdim)
    return found if rest == count else found * (count / rest)


def variance_along(x: Tensor, dim: Axes = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    """Write a variance of either kind, as by :func:`variance`."""
    return variance(x, dim, correction=int(unbiased), keepdim=keepdim)


def deviation_along(x: Tensor, dim: Axes = None, unbiased: bool = True, keepdim: bool = False) -> Any:
    """Write a standard deviation of either kind, as by :func:`deviation`."""
    return deviation(x, dim, correction=int(unbiased), keepdim=keepdim)


def deviation(x: Tensor, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False) -> Any:
    """Write a standard deviation as the root of a variance."""
    found = variance(x, dim, correction=correction, keepdim=keepdim)
    return found if found is NotImplemented else torch.sqrt(found)


def variance_and_mean(x: Tensor, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False) -> Any:
    """Write a variance and the mean beside it, each by itself."""
    found = variance(x, dim, correction=correction, keepdim=keepdim)
    return found if found is NotImplemented else (found, averaged(x, axes_of(x, dim), keepdim=keepdim))


def vector_norm(
    x: Tensor, order: float = 2, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Any:
    """Write a norm as the root of a sum of squares, or as a sum of absolute values."""
    if not _is_known(x, dtype) or order not in {1, 2}:
        return NotImplemented
    axes = axes_of(x, dim)
    return torch.sqrt(summed(x * x, axes, keepdim=keepdim)) if order == 2 else summed(x.abs(), axes, keepdim=keepdim)


def averaged(x: Tensor, axes: Sequence[int], *, keepdim: bool) -> Tensor:
    """Return the mean of ``x`` over sorted axes."""
    weight = 1 / math.prod(x.shape[axis] for axis in axes)
    return _weighed(x, axes, weight).reshape(remaining(x, axes, keepdim=keepdim))


def summed(x: Tensor, axes: Sequence[int], *, keepdim: bool) -> Tensor:
    """Return the sum of ``x`` over sorted axes."""
    return _weighed(x, axes, 1.0).reshape(remaining(x, axes, keepdim=keepdim))


def remaining(x: Tensor, axes: Sequence[int], *, keepdim: bool) -> list[int]:
    """Return the shape of a reduction's result."""
    return [1 if axis in axes else side for axis, side in enumerate(x.shape) if keepdim or axis not in axes]


def _weighed(x: Tensor, axes: Sequence[int], weight: float) -> Tensor:
    """Return the sum over sorted axes times a weight, in some shape with the values of the result in order."""
    axes = [axis for axis in axes if x.shape[axis] != 1] or axes[-1:]
    if x.dim() == 4 and list(axes) == _MAP:
        factor = weight * x.shape[2] * x.shape[3]
        windows = _first_windows(x)
        pooled = (F.avg_pool2d(x, windows) if windows else x).mean(_MAP, keepdim=True)
        return pooled if math.isclose(factor, 1.0, rel_tol=1e-12) else pooled * factor
    if x.dim() == 4 and list(axes) == [1]:
        return F.conv2d(x, torch.full((1, x.shape[1], 1, 1), weight, dtype=x.dtype))
    last = axes[-1]
    first = last
    while first - 1 in axes:
        first -= 1
    count = math.prod(x.shape[first : last + 1])
    before, behind = list(x.shape[:first]), list(x.shape[last + 1 :])
    if math.prod(behind) == 1:
        flat = x if before and last == first == x.dim() - 1 else x.reshape([*(before or [1]), count])
        found = F.linear(flat, torch.full((1, count), weight, dtype=x.dtype))
    else:
        matrices = x.reshape(math.prod(before), count, math.prod(behind))
        found = torch.bmm(torch.full((matrices.shape[0], 1, count), weight, dtype=x.dtype), matrices)
    rest = [axis for axis in axes if axis < first]
    return _weighed(found.reshape([*before, *[1] * (last - first + 1), *behind]), rest, 1.0) if rest else found


def _first_windows(x: Tensor) -> tuple[int, int] | None:
    """Return the windows in which a large map is averaged first; None for a map to be averaged at once.

    Runtimes add up value by value, so that the sum of 3,136 equal ones was off by 2e-5, in XNNPACK of executorch 1.5.1.
    """
    height, width = x.shape[2:]
    if height * width <= MOST_SUMMED:
        return None
    windows = [
        (rows, columns)
        for rows in range(1, WINDOW + 1)
        for columns in range(1, WINDOW // rows + 1)
        if height % rows == 0 and width % columns == 0
    ]
    best = max(windows, key=math.prod)
    return best if math.prod(best) > 1 else None


def axes_of(x: Tensor, dim: Axes) -> list[int]:
    """Return the axes that a reduction names, sorted; all of them where it names none."""
    named = [dim] if isinstance(dim, int) else dim
    return sorted(axis % x.dim() for axis in named) if named else list(range(x.dim()))


def _is_known(x: Tensor, dtype: torch.dtype | None) -> bool:
    fixed = all(type(side) is int and side for side in x.shape)
    return fixed and x.dim() > 0 and x.is_floating_point() and dtype in (None, x.dtype)
