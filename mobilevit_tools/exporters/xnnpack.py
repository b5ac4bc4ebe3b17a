"""What XNNPACK takes over: whatever it can, in as few calls as possible, save for what does not pay for a call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir.backend.canonical_partitioners.config_partitioner import format_target_name
from torch.fx.passes.infra.partitioner import Partition

from mobilevit_tools.analysis.graph import tensors_of
from mobilevit_tools.analysis.macs import macs_of
from mobilevit_tools.forms.resize import is_ratio

if TYPE_CHECKING:
    from torch._ops import OpOverload
    from torch.export import ExportedProgram
    from torch.fx import Graph, Node

SMALLEST = 2**16
"""Elements that a group must compute where its operators are elementwise: a call costs what the portable kernels need
for some ten thousand."""
MOST_AXES = 6
"""Axes of a tensor that XNNPACK can have."""


class Partitioner(XnnpackPartitioner):  # type: ignore[misc]  # executorch leaves it untyped
    """XNNPACK's own partitioner with another way to group what it can take over.

    One call takes all that the same number of departures from XNNPACK precede, which is the least number of calls that
    there can be, and is found in a time that grows with the graph; trying pair by pair took minutes for a model that
    clusters. Groups of a few elementwise operators between operators on indices stay outside.
    """

    def ops_to_not_decompose(self, ep: ExportedProgram) -> tuple[list[OpOverload], Callable[[Node], bool] | None]:
        """Return the operators that are kept whole for XNNPACK, and the test whether one of them is."""
        operators, takes = super().ops_to_not_decompose(ep)
        return operators, lambda node: takes(node) and not misread(node)

    def generate_partitions(self, ep: ExportedProgram) -> list[Partition]:
        """Return the groups of nodes that are taken over."""
        matched: list[list[Node]] = self.get_matched_nodes_from_configs(ep)
        units = [unit for unit in matched if not any(map(misread, unit))]
        unit_of = _unit_of(units)
        units = [
            unit
            for index, unit in enumerate(units)
            if self._pays([unit])
            or any(unit_of.get(near, index) != index for node in unit for near in (*node.all_input_nodes, *node.users))
        ]
        while True:
            groups: defaultdict[int, list[list[Node]]] = defaultdict(list)
            for unit, level in zip(units, levels(ep.graph, units), strict=True):
                groups[level].append(unit)
            paying = [group for _, group in sorted(groups.items()) if self._pays(group)]
            if len(paying) == len(groups):
                return [Partition(id=index, nodes=chain.from_iterable(group)) for index, group in enumerate(paying)]
            units = list(chain.from_iterable(paying))  # without the others, these may share a level

    def _pays(self, group: Sequence[Sequence[Node]]) -> bool:
        computing = [node for unit in group for node in unit if node.op == "call_function"]
        # Operators that were kept whole for XNNPACK have no portable kernel.
        names = [format_target_name(str(getattr(node.target, "__name__", node.target))) for node in computing]
        configs = [self.target_partitioner_configs.get(name) for name in names]
        if any(config is not None and config.get_original_aten() is not None for config in configs):
            return True
        elements = sum(tensor.numel() for node in computing for tensor in tensors_of(node))
        return elements >= SMALLEST or macs_of(computing) > 0


def misread(node: Node) -> bool:
    """Tell whether XNNPACK would take over an operator and compute something else, or fail to load it.

    Its resize maps pixels by the ratio of the sizes, and not by a factor that only comes near it.
    """
    if any(tensor.dim() > MOST_AXES for each in (node, *node.all_input_nodes) for tensor in tensors_of(each)):
        return True
    if format_target_name(getattr(node.target, "__name__", "")) != "upsample_bilinear2d.vec":
        return False
    _, _, align_corners, factors = cast("tuple[Node, Any, bool, Sequence[float] | None]", (*node.args, None)[:4])
    (before,), (after,) = tensors_of(node.all_input_nodes[0]), tensors_of(node)
    return not align_corners and not is_ratio(before.shape[2:], after.shape[2:], factors)


def levels(graph: Graph, units: Sequence[Sequence[Node]]) -> list[int]:
    """Count for each unit the departures on the way to it: how often a path to it leaves the units and comes back.

    Whatever lies on a path between two units of one level is itself of that level, so that they can be one program.

    Args:
        graph: A graph without cycles.
        units: Nodes that must stay together, such as an operator and the conversions around it. A constant belongs to
            whoever reads it, and counts for nothing.
    """
    unit_of = _unit_of(units)
    found = [0] * len(units)
    outside: dict[Node, int] = {}
    settled = False
    while not settled:  # a unit of several nodes may rise after a node of it was passed
        settled = True
        for node in graph.nodes:
            unit = unit_of.get(node)
            before = [
                found[unit_of[source]] if source in unit_of else outside[source] for source in node.all_input_nodes
            ]
            if unit is None:
                outside[node] = max(before, default=-1)
                continue
            left = [outside[source] + 1 for source in node.all_input_nodes if source not in unit_of]
            level = max([0, *left, *before])
            if level > found[unit]:
                found[unit], settled = level, False
    return found


def _unit_of(units: Sequence[Sequence[Node]]) -> dict[Node, int]:
    return {node: index for index, unit in enumerate(units) for node in unit if node.op != "placeholder"}
