"""Views of many axes, for runtimes whose tensors have fewer: what moves together is one axis.

Each form reads and gives many axes only by a reshape, of which :func:`merge_reshapes` leaves none beside another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Node

from mobilevit_tools.forms._base import VIEWS
from mobilevit_tools.forms.means import remaining
from mobilevit_tools.forms.views import has_sizes, unsqueeze

if TYPE_CHECKING:
    from torch.export import ExportedProgram


_aten = torch.ops.aten
_RESHAPES = VIEWS | {_aten.reshape.default}
_PASSING = _RESHAPES | {_aten.clone.default}


def merge_reshapes(program: ExportedProgram) -> None:
    """Let each reshape of a reshape, or of a copy of one, read what that one reads, in place."""
    for node in program.graph.nodes:
        if node.target in _RESHAPES:
            while isinstance(read := node.args[0], Node) and read.target in _PASSING:
                node.target, node.args = _aten.reshape.default, (read.args[0], *node.args[1:])
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


def permuted(most_axes: int) -> Callable[..., Any]:
    """Return the form of ``permute`` on more than ``most_axes`` axes, in steps of fewer where it takes several."""

    def form(x: Tensor, dims: Sequence[int]) -> Any:
        if x.dim() <= most_axes or not has_sizes(x):
            return NotImplemented
        order = [axis % x.dim() for axis in dims]
        sizes, moved = _merged(x.shape, order)
        found = x.reshape(sizes)
        if len(sizes) <= most_axes:
            found = found.permute(moved)
        else:
            for step, place in _moves(moved):
                before, passed, one, behind = (math.prod(part) for part in _parted(sizes, step, place))
                found = found.reshape(before, passed, one, behind).transpose(1, 2)
                sizes.insert(step, sizes.pop(place))
        return found.reshape([x.shape[axis] for axis in order])

    return form


def transposed(most_axes: int) -> Callable[..., Any]:
    """Return the form of ``transpose`` on more than ``most_axes`` axes."""
    permute = permuted(most_axes)

    def form(x: Tensor, first: int, second: int) -> Any:
        order = list(range(x.dim()))
        order[first], order[second] = order[second], order[first]
        return permute(x, order)

    return form


def selected(most_axes: int) -> Callable[..., Any]:
    """Return the form of ``select`` on more than ``most_axes`` axes, from three."""

    def form(x: Tensor, dim: int, index: int) -> Any:
        if x.dim() <= most_axes or not has_sizes(x):
            return NotImplemented
        return _selected(x, dim % x.dim(), index)

    return form


def unbound(most_axes: int) -> Callable[..., Any]:
    """Return the form of ``unbind`` on more than ``most_axes`` axes."""

    def form(x: Tensor, dim: int = 0) -> Any:
        if x.dim() <= most_axes or not has_sizes(x):
            return NotImplemented
        return tuple(_selected(x, dim % x.dim(), index) for index in range(x.shape[dim]))

    return form


def largest(most_axes: int) -> Callable[..., Any]:
    """Return the form of a maximum over one of more than ``most_axes`` axes, of three; its indices are not made."""

    def form(x: Tensor, dim: int, keepdim: bool = False) -> Any:
        if x.dim() <= most_axes or not has_sizes(x):
            return NotImplemented
        axis = dim % x.dim()
        return around(x, axis).amax(1).reshape(remaining(x, [axis], keepdim=keepdim)), None

    return form


def unsqueezed(most_axes: int) -> Callable[..., Any]:
    """Return the form of ``unsqueeze`` to more than ``most_axes`` axes."""

    def form(x: Tensor, dim: int) -> Any:
        return NotImplemented if x.dim() < most_axes else unsqueeze(x, dim)

    return form


def same(most_axes: int) -> Callable[..., Any]:
    """Return the form of a copy of more than ``most_axes`` axes: what it copies."""

    def form(x: Tensor, **_: object) -> Any:
        return x if x.dim() > most_axes else NotImplemented

    return form


def _selected(x: Tensor, dim: int, index: int) -> Tensor:
    return around(x, dim).select(1, index).reshape(remaining(x, [dim], keepdim=False))


def around(x: Tensor, dim: int) -> Tensor:
    """Return ``x`` with what is before and behind an axis merged."""
    return x.reshape(math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :]))


def _merged(shape: Sequence[int], order: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return sizes and order of a permutation without axes of one, and with those merged that stay side by side."""
    kept = [axis for axis in order if shape[axis] != 1]
    places = {axis: place for place, axis in enumerate(sorted(kept))}
    runs: list[list[int]] = []
    for axis in kept:
        if runs and places[axis] == places[runs[-1][-1]] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    ranked = sorted(runs)
    return [math.prod(shape[axis] for axis in run) for run in ranked], [ranked.index(run) for run in runs]


def _moves(order: Sequence[int]) -> list[tuple[int, int]]:
    """Return the moves of one axis forward that make ``order``: where to, and from where at that time."""
    now, moves = sorted(order), []
    for step, axis in enumerate(order):
        place = now.index(axis)
        if place != step:
            moves.append((step, place))
            now.insert(step, now.pop(place))
    return moves


def _parted(sizes: Sequence[int], step: int, place: int) -> tuple[Sequence[int], ...]:
    return sizes[:step], sizes[step:place], sizes[place : place + 1], sizes[place + 1 :]
