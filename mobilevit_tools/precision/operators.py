"""The operators of a traced program by name, and the modules of the model that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from mobilevit_tools.analysis.graph import module_path
from mobilevit_tools.errors import UsageError
from mobilevit_tools.precision.execution import moves_values
from mobilevit_tools.precision.record import KeptOperator

if TYPE_CHECKING:
    from torch.fx import GraphModule

_WRAPPER = "module."


def computing(graph: Graph) -> list[Node]:
    """Return the nodes that compute real values, in order; those that only move values have nothing to round."""
    return [
        node
        for node in graph.nodes
        if node.op == "call_function" and not moves_values(node) and _is_real(node.meta.get("val"))
    ]


def _is_real(value: object) -> bool:
    return any(isinstance(each, Tensor) and each.is_floating_point() for each in pytree.tree_leaves(value))


def kept_operator(node: Node, reason: str) -> KeptOperator:
    """Describe a node that is kept."""
    return KeptOperator(node.name, operator_name(node), owner(node), reason)


def operator_name(node: Node) -> str:
    """Return what a node computes, without its overload: ``aten.matmul``."""
    target = node.target
    return str(target.overloadpacket) if isinstance(target, torch._ops.OpOverload) else str(target)


def owner(node: Node) -> str:
    """Return the path, in the user's model, of the module that a node comes from."""
    path = module_path(node)
    while path.startswith(_WRAPPER):
        path = path.removeprefix(_WRAPPER)
    return "" if path == _WRAPPER.rstrip(".") else path


def select(module: GraphModule, names: Sequence[str]) -> list[Node]:
    """Return the operators that ``names`` stand for: operators by name, modules for all operators inside of them.

    Raises:
        UsageError: A name stands for nothing; the hint tells the nearest ones.
    """
    nodes = computing(module.graph)
    by_name = {node.name: [node] for node in nodes}
    for node in nodes:
        parts = owner(node).split(".")
        for depth in range(1, len(parts) + 1):
            by_name.setdefault(".".join(parts[:depth]), []).append(node)
    chosen: set[Node] = set()
    for name in names:
        if name not in by_name:
            nearest = get_close_matches(name, by_name, n=3, cutoff=0.4)
            raise UsageError(
                f"There is no operator or module named {name!r} to keep in float32.",
                hint=f"Did you mean {' or '.join(nearest)}?"
                if nearest
                else "Omit --fp16-keep to search for them automatically.",
                code="unknown_operator",
            )
        chosen.update(by_name[name])
    return [node for node in nodes if node in chosen]
