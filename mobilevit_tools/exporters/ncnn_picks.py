"""Queries, keys and values without a tensor of five dimensions, of which ncnn holds none.

Attention often views a projection (B, N, 3 h d) as (B, N, 3, h, d), moves the 3 to the front and picks from it. Each
pick is as well a third of the projection, viewed as (B, N, h, d).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.fx import Node

from mobilevit_tools.forms._base import check_results, insert, replace, results_in_double

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten
_VIEWS = frozenset({_aten.view.default, _aten.reshape.default, _aten.unflatten.int})
_MOST_DIMENSIONS = 4


def pick_thirds(program: ExportedProgram, inputs: Sequence[Tensor]) -> int:
    """Write picks from the front of a moved view as slices of what is viewed, in place; return how many.

    Raises:
        MvtError: The program does not compute the same afterwards.
    """
    found = [
        (pick, index, node)
        for node in program.graph.nodes
        if node.target is _aten.permute.default and _is_split(node)
        for pick, index in _picks(node)
    ]
    if not found:
        return 0
    expected = results_in_double(program, inputs)
    for pick, index, moved in found:
        source = cast("Node", cast("Node", moved.args[0]).args[0])
        replace(program, pick, insert(program, pick, _third(moved, index), [source]))
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    check_results(program, inputs, expected)
    return len(found)


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _order(moved: Node) -> list[int]:
    order = cast("list[int]", moved.args[1])
    return [each % len(order) for each in order]


def _is_split(moved: Node) -> bool:
    """Tell whether it moves to the front what a view made of the beginning of its source's last axis."""
    view = cast("Node", moved.args[0])
    if view.target not in _VIEWS or len(_shape(view)) <= _MOST_DIMENSIONS:
        return False
    axis, whole = _order(moved)[0], _shape(cast("Node", view.args[0]))
    return len(whole) == axis + 1 and whole == (*_shape(view)[:axis], math.prod(_shape(view)[axis:]))


def _picks(moved: Node) -> list[tuple[Node, int]]:
    """Return the nodes that pick from the first axis, and which; nothing where anything else reads it."""
    picks: list[tuple[Node, int]] = []
    for user in moved.users:
        axis = user.args[1] if len(user.args) > 1 else 0
        if user.target is _aten.unbind.int and axis == 0:
            picks.extend((each, cast("int", each.args[1])) for each in user.users if each.target is operator.getitem)
        elif user.target is _aten.select.int and axis == 0:
            picks.append((user, cast("int", user.args[2]) % _shape(moved)[0]))
        else:
            return []
    return picks


def _third(moved: Node, index: int) -> Callable[[Tensor], Tensor]:
    first, *rest = _order(moved)
    sizes = _shape(cast("Node", moved.args[0]))[first + 1 :]
    order = [each - (each > first) for each in rest]
    width = math.prod(sizes)
    return lambda x: x[..., index * width : (index + 1) * width].reshape(*x.shape[:-1], *sizes).permute(order)
