"""A traced model that rounds where a target's quantizer does, and can be trained.

Every target has a function that makes one, named in its description; most are a few lines on :func:`round_operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from mobilevit_tools.analysis.watching import Watching
from mobilevit_tools.quantization.sensitivity import WEIGHT_PLACES, outputs_last, weighted_operators

if TYPE_CHECKING:
    from mobilevit_tools.quantization._base import Quantization


@dataclass(frozen=True)
class Student:
    """A model that learns.

    Attributes:
        graph: Traced, with parameters under the names of the module that it was traced from.
        stored: What rounds a weight, by its name, before it is stored; of the others the quantizer rounds what it gets.
    """

    graph: GraphModule
    stored: Mapping[str, nn.Module] = field(default_factory=dict)


MakeStudent = Callable[[nn.Module, Tensor, "Quantization"], Student]
"""Takes a rewritten module that it may change, an example (B, 3, H, W) and what to do."""


@dataclass(frozen=True)
class Scheme:
    """How a quantizer rounds.

    Attributes:
        weight: Takes a weight and the axis of its output channels; returns what rounds it, None to leave it.
        activation: Takes the lowest and the highest value; returns what rounds inputs and results. None leaves them.
        results: Whether results are rounded, and not inputs alone.
        outliers: One value in so many is left out of an image's range at either end; 0 leaves out none.
    """

    weight: Callable[[Tensor, int], nn.Module | None]
    activation: Callable[[float, float], nn.Module] | None = None
    results: bool = False
    outliers: int = 0


def round_operators(
    module: nn.Module, example: Tensor, quantization: Quantization, scheme: Scheme, skip: Iterable[str] = ()
) -> GraphModule:
    """Return ``module`` traced, with what rounds around its operators with trained weights.

    Args:
        module: In evaluation mode.
        example: An input (B, 3, H, W).
        quantization: What to do; its calibration's photos give the ranges.
        scheme: How.
        skip: Names of weights whose operators stay as they are, beside those that are kept.
    """
    graph = torch.export.export(module, (example,), strict=False).module(check_guards=False)
    left = {*quantization.keep, *skip}
    operators = {node: name for node, name in weighted_operators(graph, module).items() if name not in left}
    axes = {node: -1 if outputs_last(node) else 0 for node in operators}
    rounding = {node: scheme.weight(module.get_parameter(name), axes[node]) for node, name in operators.items()}
    operators = {node: name for node, name in operators.items() if rounding[node] is not None}
    ranges: Mapping[Node, tuple[float, float]] = {}
    if scheme.activation is not None and quantization.calibration is not None:
        batches = map(torch.from_numpy, quantization.calibration.batches(len(example)))
        ranges = _ranges(graph, operators, batches, scheme)
    rounded: dict[Node, Node] = {}

    def insert(value: Node, by: nn.Module, before: Node | None = None) -> Node:
        name = f"rounding_{len(list(graph.named_children()))}"
        graph.add_submodule(name, by)
        with graph.graph.inserting_before(before) if before is not None else graph.graph.inserting_after(value):
            return graph.graph.call_module(name, (value,))

    for node in operators:
        place = WEIGHT_PLACES[node.target]
        weight, value = cast("Node", node.args[place]), cast("Node", node.args[place - 1])
        by = rounding[node]
        if by is not None:
            node.update_arg(place, insert(weight, by, before=node))
        if scheme.activation is None or value not in ranges:
            continue
        if value not in rounded:
            rounded[value] = insert(value, scheme.activation(*ranges[value]))
        node.update_arg(place - 1, rounded[value])
        if scheme.results and node in ranges:
            result = insert(node, scheme.activation(*ranges[node]))
            node.replace_all_uses_with(result)
            result.args = (node,)
    graph.recompile()
    return graph


def _ranges(
    graph: GraphModule, operators: Iterable[Node], batches: Iterable[Tensor], scheme: Scheme
) -> dict[Node, tuple[float, float]]:
    """Return the range of every input of the operators, and of every result where the scheme rounds those."""
    watched = {node.args[WEIGHT_PLACES[node.target] - 1] for node in operators}
    if scheme.results:
        watched |= set(operators)
    ranges: dict[Node, tuple[float, float]] = {}

    def see(node: Node, _arguments: tuple[Any, ...], value: Any) -> None:
        images = value.flatten(1)
        left_out = images.shape[1] // scheme.outliers if scheme.outliers else 0
        low = images.kthvalue(1 + left_out, dim=1).values if left_out else images.amin(dim=1)
        high = images.kthvalue(images.shape[1] - left_out, dim=1).values if left_out else images.amax(dim=1)
        known = ranges.get(node, (float(low.min()), float(high.max())))
        ranges[node] = min(known[0], float(low.min())), max(known[1], float(high.max()))

    seeing = Watching(graph, lambda node: node in watched, see)
    with torch.no_grad():
        for batch in batches:
            seeing.run(batch)
    return ranges
