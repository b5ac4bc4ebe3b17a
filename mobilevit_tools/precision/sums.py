"""Sums of products that a runtime adds up in half precision, as XNNPACK does: the longer, the less exact."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch

from mobilevit_tools.half import half
from mobilevit_tools.precision.execution import source
from mobilevit_tools.precision.operators import computing

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_WEIGHTED = frozenset(
    {
        _aten.conv1d.default,
        _aten.conv2d.default,
        _aten.conv2d.padding,
        _aten.convolution.default,
        _aten.linear.default,
    }
)
"""Operators whose second operand holds, for each result, a row of what is multiplied."""
_PRODUCTS = frozenset({_aten.matmul.default, _aten.mm.default, _aten.bmm.default})
_SHORTEST = 64
"""Shorter sums are never kept in float32 for their length."""


def terms(node: Node) -> int:
    """Return how many products each result of an operator adds up; 1 for one that adds up none."""
    if node.target in _WEIGHTED:
        return math.prod(_shape(node.args[1])[1:])
    if node.target in _PRODUCTS:
        return _shape(node.args[0])[-1]
    return _shape(node.args[1])[-1] if node.target is _aten.addmm.default else 1


def _shape(operand: Any) -> tuple[int, ...]:
    return tuple(operand.meta["val"].shape)


def summed_in_half(value: Tensor, count: int) -> Tensor:
    """Return float32 sums of so many products as a runtime that adds them up in half gives them.

    Each addition rounds, at a magnitude that grows with the root of what was added. Together that is the last
    rounding, enlarged by half the root of the count: XNNPACK's kernels are within 1 dB of this.
    """
    rounded = half(value)
    return half(value + (rounded - value) * max(1.0, math.sqrt(count) / 2))


def long_sums(module: GraphModule, base: Collection[Node]) -> list[list[Node]]:
    """Return ever larger sets of operators in program order: ``base``, and all that add up at least so many products.

    What stands between two of a set, such as an activation, is in the set as well: a cast costs more than it does.
    """
    nodes = computing(module.graph)
    longest = max((terms(node) for node in nodes), default=1)
    sets = []
    least = 1 << (longest.bit_length() - 1)
    while least >= _SHORTEST:
        chosen = {node for node in nodes if node in base or terms(node) >= least}
        sets.append([node for node in nodes if node in chosen or _is_between(node, chosen)])
        least //= 2
    return sets


def _is_between(node: Node, chosen: Collection[Node]) -> bool:
    read = [source(each) for each in node.all_input_nodes]
    return bool(node.users) and all(each in chosen for each in (*read, *node.users))
