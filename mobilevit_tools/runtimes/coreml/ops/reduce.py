"""Reductions, running sums and orderings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .registry import Ints, axes_of, operator

Reduction = Callable[[Tensor, Ints, bool], Tensor]


def _product(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: Mapping[str, Reduction] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(x.float(), axes, keepdim=keep),
    "reduce_max": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "reduce_mean": lambda x, axes, keep: x.float().mean(axes, keepdim=keep),
    "reduce_min": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "reduce_prod": _product,
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


def _register(name: str, reduction: Reduction) -> None:
    @operator(name)
    def apply(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        return reduction(x, axes_of(axes, x.ndim), keep_dims)


for _name, _reduction in _REDUCTIONS.items():
    _register(_name, _reduction)


@operator("reduce_argmax", ignored=("output_dtype",))
def _argmax(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    return x.argmax(axis, keepdim=keep_dims)


@operator("reduce_argmin", ignored=("output_dtype",))
def _argmin(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    return x.argmin(axis, keepdim=keep_dims)


@operator("cumsum")
def _cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    x = x.flip(axis) if reverse else x
    total = x.cumsum(axis)
    if exclusive:
        total = total.roll(1, axis)
        total.select(axis, 0).zero_()
    return total.flip(axis) if reverse else total


@operator("argsort")
def _argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return x.argsort(dim=axis, descending=not ascending, stable=True)


@operator("topk", ignored=("sort", "output_indices_dtype"))
def _topk(
    x: Tensor, k: int = 1, axis: int = -1, ascending: bool = False, return_indices: bool = True
) -> Tensor | tuple[Tensor, Tensor]:
    """The ``k`` largest (or smallest) values in order, all for ``k`` = -1; of equal ones the first come first."""
    count = x.shape[axis] if k == -1 else k
    values, indices = _first(x.movedim(axis, -1), count, descending=not ascending)
    values, indices = values.movedim(-1, axis), indices.movedim(-1, axis)
    return (values, indices) if return_indices else values


def _first(x: Tensor, count: int, *, descending: bool) -> tuple[Tensor, Tensor]:
    """The first ``count`` values of each row in a stable order, and where they stand.

    Only rows with equal values among the first ones, or with NaN, need a stable sort of the whole row.
    """
    if not 0 <= count < x.shape[-1]:
        values, indices = x.sort(dim=-1, descending=descending, stable=True)
        return values.narrow(-1, 0, count), indices.narrow(-1, 0, count)
    values, indices = x.topk(count + 1, dim=-1, largest=descending)
    before, after = values[..., :-1], values[..., 1:]
    ties = ~(before > after if descending else before < after).all(-1)
    values, indices = before, indices[..., :-1]
    if ties.any():
        ordered, places = x[ties].sort(dim=-1, descending=descending, stable=True)
        values[ties], indices[ties] = ordered[..., :count], places[..., :count]
    return values, indices
