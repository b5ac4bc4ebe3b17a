"""Changes of shape, order and extent as slices, reshapes and concatenations, which delegates take over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_AXES = 6
"""Axes of a tensor that runtimes commonly have at most."""


def itself(x: Tensor, *_: object, **__: object) -> Tensor:
    """Leave out an operator whose result is what it reads."""
    return x


def joined(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """Leave out the concatenation of a single tensor, as DenseNet's first of each block."""
    return tensors[0] if len(tensors) == 1 else NotImplemented


def roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    """Write a roll as the two parts of each axis in the other order."""
    if not dims:
        return roll(x.flatten(), shifts, [0]).reshape(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        side = x.shape[dim]
        start = -shift % side if side else 0
        if start:
            x = torch.cat([x.narrow(dim, start, side - start), x.narrow(dim, 0, start)], dim)
    return x


def select(x: Tensor, dim: int, index: int) -> Any:
    """Write a pick along an axis as a slice less its axis."""
    if not has_sizes(x):
        return NotImplemented
    dim %= x.dim()
    return x.narrow(dim, index % x.shape[dim], 1).reshape([*x.shape[:dim], *x.shape[dim + 1 :]])


def unbind(x: Tensor, dim: int = 0) -> Any:
    """Write all picks along an axis as slices less their axis."""
    if not has_sizes(x):
        return NotImplemented
    return tuple(select(x, dim, index) for index in range(x.shape[dim]))


def split(x: Tensor, split_size: int, dim: int = 0) -> Any:
    """Write parts of equal size as slices."""
    side = x.shape[dim]
    if not has_sizes(x) or not split_size:
        return NotImplemented
    return split_with_sizes(x, [min(split_size, side - start) for start in range(0, side, split_size)] or [0], dim)


def split_with_sizes(x: Tensor, split_sizes: Sequence[int], dim: int = 0) -> Any:
    """Write parts as slices."""
    if not has_sizes(x):
        return NotImplemented
    starts = [sum(split_sizes[:index]) for index in range(len(split_sizes))]
    return tuple(x.narrow(dim, start, size) for start, size in zip(starts, split_sizes, strict=True))


def chunk(x: Tensor, chunks: int, dim: int = 0) -> Any:
    """Write parts of about equal size as slices."""
    return split(x, -(-x.shape[dim] // chunks), dim)


def stepped_slice(x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """Write a slice with a step as the first of every so many along an axis of their own."""
    if step == 1 or not has_sizes(x) or x.dim() >= MOST_AXES or not x.is_floating_point():
        return NotImplemented
    dim %= x.dim()
    places = range(x.shape[dim])[start:end:step]
    if not places:
        return NotImplemented
    reach, left = len(places) * step, x.shape[dim] - places[0]
    part = x.narrow(dim, places[0], min(reach, left))
    if reach > left:
        part = F.pad(part, [0, 0] * (x.dim() - 1 - dim) + [0, reach - left])
    before, after = x.shape[:dim], x.shape[dim + 1 :]
    firsts = part.reshape([*before, len(places), step, *after]).narrow(dim + 1, 0, 1)
    return firsts.reshape([*before, len(places), *after])


def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Any:
    """Write axes of one that are dropped as a reshape."""
    if not has_sizes(x) or not x.dim():
        return NotImplemented
    named = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    dropped = {axis % x.dim() for axis in named}
    return x.reshape([side for axis, side in enumerate(x.shape) if axis not in dropped or side != 1])


def unsqueeze(x: Tensor, dim: int) -> Any:
    """Write an axis of one that is added as a reshape."""
    if not has_sizes(x):
        return NotImplemented
    place = dim % (x.dim() + 1)
    return x.reshape([*x.shape[:place], 1, *x.shape[place:]])


def expand(x: Tensor, size: Sequence[int], *, implicit: bool = False) -> Any:
    """Write a broadcast copy as a sum with zeros, and leave out one that keeps the shape."""
    if not has_sizes(x) or not all(type(each) is int for each in size):
        return NotImplemented
    lead = len(size) - x.dim()
    shape = [side if new == -1 else new for side, new in zip([1] * lead + [*x.shape], size, strict=True)]
    return repeated(x.reshape([1] * lead + [*x.shape]) if lead else x, shape)


def expand_as(x: Tensor, other: Tensor) -> Any:
    """Write a broadcast copy to another tensor's shape, as by :func:`expand`."""
    return expand(x, other.shape)


def repeat(x: Tensor, repeats: Sequence[int]) -> Any:
    """Write copies side by side as broadcast copies along an axis of their own, as by :func:`repeated`."""
    fixed = has_sizes(x) and all(type(each) is int and each > 0 for each in repeats)
    if not fixed or not x.is_floating_point() or len(repeats) >= MOST_AXES:
        return NotImplemented
    found = x.reshape([1] * (len(repeats) - x.dim()) + [*x.shape])
    for axis, count in enumerate(repeats):
        before, behind = list(found.shape[:axis]), list(found.shape[axis:])
        if count > 1:
            copies = repeated(found.reshape([*before, 1, *behind]), [*before, count, *behind])
            found = copies.reshape([*before, count * behind[0], *behind[1:]])
    return found


def repeated(x: Tensor, shape: Sequence[int]) -> Any:
    """Return ``x`` with axes of one repeated up to ``shape``, of as many axes, as a sum with zeros along these."""
    if list(x.shape) == list(shape):
        return x
    if not x.is_floating_point():
        return NotImplemented
    grown = [1 if side == new else new for side, new in zip(x.shape, shape, strict=True)]
    return x + torch.zeros(grown, dtype=x.dtype)


def has_sizes(x: Tensor) -> bool:
    """Tell whether all sides are known numbers."""
    return all(type(side) is int for side in x.shape)
