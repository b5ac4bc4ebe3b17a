"""Operators on tensors of many axes, on fewer: axes that an operator does not tell apart are one.

As in :mod:`mobilevit_tools.forms.ranks`, only reshapes read and give many axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.forms import ranks, views
from mobilevit_tools.forms.ranks import around
from mobilevit_tools.forms.views import has_sizes

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mobilevit_tools.forms._base import Form, Forms

_aten = torch.ops.aten


def wide_forms(program: ExportedProgram, most_axes: int) -> Forms:
    """Return forms for those operators of a program that have one on more than ``most_axes`` axes."""
    known: dict[Any, Form] = {}
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target not in known:
            form = _FORMS.get(node.target)
            if form is None and torch.Tag.pointwise in node.target.tags:
                form = side_by_side(node.target)
            if form is not None:
                known[node.target] = _of_wide(form, most_axes)
            elif (make := _FORMS_BY_AXES.get(node.target)) is not None:
                known[node.target] = make(most_axes)
    return known


def _of_wide(form: Form, most_axes: int) -> Form:
    def where_wide(*args: Any, **options: Any) -> Any:
        given = [each for arg in args for each in (arg if isinstance(arg, list | tuple) else [arg])]
        tensors = [each for each in given if isinstance(each, Tensor)]
        if not tensors or not all(map(has_sizes, tensors)):
            return NotImplemented
        found = form(*args, **options)
        results = found if isinstance(found, tuple) else (found,)
        if found is NotImplemented or max(each.dim() for each in (*tensors, *results)) <= most_axes:
            return NotImplemented
        return found

    return where_wide


def side_by_side(operator: Callable[..., Tensor]) -> Form:
    """Return the form of an operator on the values at each place."""

    def form(*args: Any, **options: Any) -> Tensor:
        tensors = [each for each in args if isinstance(each, Tensor)]
        sizes, shape = merged([each.shape for each in tensors])
        fewer = iter([each.reshape(size) for each, size in zip(tensors, sizes, strict=True)])
        return operator(*(next(fewer) if isinstance(each, Tensor) else each for each in args), **options).reshape(shape)

    return form


def merged(shapes: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[int]]:
    """Return shapes that broadcast, with those axes as one that broadcast alike, and the shape that they make."""
    rank = max(map(len, shapes))
    padded = [[1] * (rank - len(shape)) + list(shape) for shape in shapes]
    columns = list(zip(*padded, strict=True))
    runs = [list(run) for _, run in groupby([each for each in columns if max(each) != 1 or 0 in each], key=_ones)]
    sizes = [[math.prod(each[which] for each in run) for run in runs] for which in range(len(shapes))]
    return sizes, [next((size for size in each if size != 1), 1) for each in columns]


def _ones(sizes: Sequence[int]) -> tuple[bool, ...]:
    return tuple(size == 1 for size in sizes)


def _back(found: Tensor, x: Tensor, dim: int) -> Tensor:
    """Undo :func:`around` with what was made of an axis of ``x``, of whatever size that is now."""
    return found.reshape([*x.shape[:dim], found.shape[1], *x.shape[dim + 1 :]])


def _along(operator: Callable[..., Tensor]) -> Form:
    """Return the form of an operator on one axis that its second argument names."""

    def form(x: Tensor, dim: int = 0, *args: Any, **options: Any) -> Tensor:
        dim %= x.dim()
        return _back(operator(around(x, dim), 1, *args, **options), x, dim)

    return form


def _parts(x: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    dim %= x.dim()
    parts = views.split_with_sizes(around(x, dim), split_sizes, 1)
    return tuple(_back(each, x, dim) for each in parts)


def _equal_parts(x: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    side = x.shape[dim]
    return _parts(x, [min(split_size, side - start) for start in range(0, side, split_size)], dim)


def _chunks(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    return _equal_parts(x, -(-x.shape[dim] // chunks), dim)


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    first = tensors[0]
    dim %= first.dim()
    return _back(torch.cat([around(each, dim) for each in tensors], 1), first, dim)


def _stacked(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape.insert(dim % (len(shape) + 1), 1)
    return _joined([each.reshape(shape) for each in tensors], dim)


def _flipped(x: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in dims:
        x = around(x, dim % x.dim()).flip(1).reshape(x.shape)
    return x


def _rolled(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    if not dims:
        return views.roll(x.reshape(-1), shifts, [0]).reshape(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        x = views.roll(around(x, dim % x.dim()), [shift], [1]).reshape(x.shape)
    return x


def _repeated(x: Tensor, repeats: Sequence[int]) -> Tensor:
    x = x.reshape([1] * (len(repeats) - x.dim()) + list(x.shape))
    for dim, times in enumerate(repeats):
        if times != 1:
            x = _joined([x] * times, dim)
    return x


def _expanded(x: Tensor, size: Sequence[int], **_: object) -> Tensor:
    held = [1] * (len(size) - x.dim()) + list(x.shape)
    wanted = [had if want == -1 else want for had, want in zip(held, size, strict=True)]
    (before, after), _shape = merged([held, wanted])
    return x.reshape(before).expand(after).reshape(wanted)


def _padded(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    if mode != "constant":
        return NotImplemented
    for back, (left, right) in enumerate(zip(pad[::2], pad[1::2], strict=True), 1):
        dim = x.dim() - back
        x = _back(F.pad(around(x, dim), (0, 0, left, right), value=value), x, dim)
    return x


def _picked(x: Tensor, indices: Sequence[Tensor | None]) -> Any:
    """Write an index of one axis."""
    found = [(dim, each) for dim, each in enumerate(indices) if each is not None]
    if len(found) != 1 or found[0][1].dim() != 1 or found[0][1].dtype == torch.bool:
        return NotImplemented
    ((dim, index),) = found
    return _back(around(x, dim)[:, index], x, dim)


def _normed(x: Tensor, shape: Sequence[int], *args: Any) -> Tensor:
    return F.layer_norm(x.reshape(-1, *shape), shape, *args[:3]).reshape(x.shape)


def _projected(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x.reshape(-1, x.shape[-1]), weight, bias).reshape([*x.shape[:-1], len(weight)])


def _multiplied(x: Tensor, y: Tensor) -> Any:
    if min(x.dim(), y.dim()) < 2:
        return NotImplemented
    (left, right), batch = merged([x.shape[:-2], y.shape[:-2]])
    found = x.reshape([*left, *x.shape[-2:]]) @ y.reshape([*right, *y.shape[-2:]])
    return found.reshape([*batch, x.shape[-2], y.shape[-1]])


def _reshaped(operator: Callable[..., Tensor]) -> Form:
    """Return the form of an operator that only leaves axes of one out."""

    def form(x: Tensor, *args: Any) -> Tensor:
        return x.reshape(operator(x, *args).shape)

    return form


_FORMS: Mapping[Any, Form] = {
    **{
        each: _along(each)
        for each in (
            _aten.softmax.int,
            _aten._softmax.default,
            _aten.log_softmax.int,
            _aten._log_softmax.default,
            _aten.slice.Tensor,
            _aten.cumsum.default,
            _aten.index_select.default,
        )
    },
    _aten.glu.default: lambda x, dim=-1: _along(_aten.glu.default)(x, dim),
    **{each: _reshaped(each) for each in (_aten.squeeze.default, _aten.squeeze.dim, _aten.squeeze.dims)},
    _aten.hardswish.default: side_by_side(_aten.hardswish.default),
    **{
        each: lambda x, each=each, **options: each(x.reshape(-1), **options)
        for each in (_aten.sum.default, _aten.mean.default, _aten.max.default, _aten.min.default)
    },
    _aten.split_with_sizes.default: _parts,
    _aten.split.Tensor: _equal_parts,
    _aten.chunk.default: _chunks,
    _aten.cat.default: _joined,
    _aten.stack.default: _stacked,
    _aten.flip.default: _flipped,
    _aten.roll.default: _rolled,
    _aten.repeat.default: _repeated,
    _aten.expand.default: _expanded,
    _aten.pad.default: _padded,
    _aten.constant_pad_nd.default: lambda x, pad, value=0: _padded(x, pad, value=value),
    _aten.index.Tensor: _picked,
    _aten.layer_norm.default: _normed,
    _aten.linear.default: _projected,
    _aten.matmul.default: _multiplied,
}
"""What stands for an operator on many axes, whatever their number."""
_FORMS_BY_AXES: Mapping[Any, Callable[[int], Form]] = {
    _aten.unsqueeze.default: ranks.unsqueezed,
    _aten.permute.default: ranks.permuted,
    _aten.transpose.int: ranks.transposed,
    _aten.select.int: ranks.selected,
    _aten.max.dim: ranks.largest,
    _aten.unbind.int: ranks.unbound,
    _aten.clone.default: ranks.same,
}
