"""Run a traced program operator by operator with two widths of real numbers: narrow (half) and wide (float32).

Operators are narrow unless they are kept. A narrow operator reads narrow values and gives one; a kept operator reads
wide values where there are any (the input, weights, results of other kept operators) and gives a wide one. Operators
that only move values (views, splits, copies) have no width of their own: they pass on what they are given.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

_aten = torch.ops.aten
_COPIES = frozenset(
    {
        operator.getitem,
        _aten.clone.default,
        _aten._unsafe_view.default,
        _aten.dropout.default,
        _aten.repeat.default,
        _aten.flip.default,
        _aten.roll.default,
    }
)
_CONVERSIONS = frozenset(
    {
        _aten.to.dtype,
        _aten.to.dtype_layout,
        _aten.to.device,
        _aten.to.other,
        _aten._to_copy.default,
        _aten.type_as.default,
    }
)


def moves_values(node: Node) -> bool:
    """Tell whether a node only moves the values of its first argument, so that no rounding happens in it."""
    return node.op == "call_function" and (node.target in _COPIES or bool(getattr(node.target, "is_view", False)))


def converts_reals(node: Node) -> bool:
    """Tell whether a node converts real values to another type of real values, or to the one that they have."""
    return (
        node.op == "call_function"
        and node.target in _CONVERSIONS
        and isinstance(node.args[0], Node)
        and all(each.meta["val"].is_floating_point() for each in (node, node.args[0]))
    )


def source(node: Node) -> Node:
    """Return the node that computed the values of ``node``: itself, unless it only moves them."""
    while moves_values(node) and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def change_reals(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return ``value`` with ``change`` made to the real-valued tensors in it."""
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    return pytree.tree_map_only(Tensor, lambda each: change(each) if each.is_floating_point() else each, value)


class TwoWidths(ABC):
    """A traced program with some operators kept wide.

    Args:
        module: The program; functional, with its weights as attributes in float32.
        keep: Names of the nodes that are kept wide.

    Attributes:
        wide: The nodes whose values are wide until a narrow operator reads them.
    """

    def __init__(self, module: GraphModule, keep: Collection[str] = ()) -> None:
        self.module = module
        self.nodes = list(module.graph.nodes)
        self.keep = frozenset(keep)
        self.wide = frozenset(
            node for node in self.nodes if (origin := source(node)).op != "call_function" or origin.name in self.keep
        )

    @abstractmethod
    def narrow(self, value: Tensor) -> Tensor:
        """Round a wide value as a narrow operator reads it."""

    @abstractmethod
    def widen(self, value: Tensor) -> Tensor:
        """Convert a narrow value as a kept operator reads it."""

    @abstractmethod
    def compute(self, node: Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run a narrow operator on narrow values and return its narrow result."""

    def weight(self, node: Node) -> Any:
        """Return the attribute that a node fetches."""
        value: Any = self.module
        for name in str(node.target).split("."):
            value = getattr(value, name)
        return value

    @cached_property
    def _last_reads(self) -> dict[Node, list[Node]]:
        last: dict[Node, Node] = {}
        for node in self.nodes:
            for read in node.all_input_nodes:
                last[read] = node
        reads: dict[Node, list[Node]] = {}
        for read, node in last.items():
            reads.setdefault(node, []).append(read)
        return reads

    def run(self, *inputs: Tensor, fetch: Collection[Node] = ()) -> list[Any]:
        """Run once; return the outputs in order, read as a narrow operator would unless kept, then ``fetch``."""
        values: dict[Node, Any] = {}
        narrowed: dict[Node, Any] = {}
        widened: dict[Node, Any] = {}
        given = iter(inputs)

        def read(node: Node, *, wide: bool) -> Any:
            if wide == (node in self.wide):
                return values[node]
            cache, change = (widened, self.widen) if wide else (narrowed, self.narrow)
            if node not in cache:
                cache[node] = change_reals(values[node], change)
            return cache[node]

        fetched: dict[Node, Any] = {}
        for node in self.nodes:
            # The tracer's kernels may leave results in another order in memory, of which a view is not possible.
            target: Any = _aten.reshape.default if node.target is _aten.view.default else node.target
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "get_attr":
                values[node] = self.weight(node)
            elif node.op == "output":
                results = [read(each, wide=each in self.wide) for each in pytree.tree_leaves(node.args[0])]
            elif moves_values(node) and converts_reals(node):
                values[node] = values[node.args[0]]  # widths are ours to choose
            elif moves_values(node):
                values[node] = target(
                    *map_arg(node.args, values.__getitem__), **map_arg(node.kwargs, values.__getitem__)
                )
            else:
                kept = node.name in self.keep
                reading = partial(read, wide=kept)
                args, kwargs = (map_arg(part, reading) for part in (node.args, node.kwargs))
                values[node] = target(*args, **kwargs) if kept else self.compute(node, args, kwargs)
            if node in fetch:
                fetched[node] = values[node]
            for done in self._last_reads.get(node, ()):
                for cache in (values, narrowed, widened):
                    cache.pop(done, None)
        return [*results, *(fetched[node] for node in fetch)]
