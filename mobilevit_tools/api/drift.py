"""Where a float32 artifact is wrong: the first operator that its target computes otherwise than PyTorch.

Operators of the exported program are given a way out, and the program is lowered again by the same exporter and run.
First many at once, evenly spaced, then those between the last that is right and the first that is wrong. Where the
fault is gone with so many ways out, because a backend then fuses less, the program is cut off behind one operator at a
time instead, and halved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mobilevit_tools.blame import line_in
from mobilevit_tools.runtimes.registry import open_made
from mobilevit_tools.verification.metrics import MAX_SNR_DB, distance
from mobilevit_tools.verification.parity import Drift
from mobilevit_tools.verification.tolerances import GATES

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.fx import GraphModule, Node

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.exporters._base import Exporter, ExportSpec
    from mobilevit_tools.verification.inputs import VerificationInput

BUDGET_S = 120.0
"""Nothing is lowered that would end after this, by how long the last one took."""
AT_ONCE = 64
"""Operators that get a way out in one program."""
FLOOR_MARGIN_DB = 12.0
"""An operator whose own float32 misses the gate from its float64 drifts where a target is this much farther off."""
BROKEN_DB = -MAX_SNR_DB
"""Stands for a result that is not finite, or has no ratio."""


class _UnfoundError(Exception):
    """The budget is spent, or a program with another end cannot be lowered or run."""


def find_drift(
    module: nn.Module, exporter: Exporter, spec: ExportSpec, contract: Contract, item: VerificationInput
) -> Drift | None:
    """Return the first operator that drifts, on one input; None where it cannot be found in a bounded time.

    Args:
        module: What was lowered.
        exporter: The target's exporter.
        spec: What was asked for, in float32.
        contract: The artifact's contract.
        item: An input on which the artifact is wrong.
    """
    try:
        search = _Search(module, exporter, replace(spec, batch=1), contract, item)
        found = search.first_of(search.nodes) or search.first_by_halves(search.nodes)
        return None if found is None else search.describe(found)
    except Exception:  # whatever others' code raises for such programs: the verdict stands without it
        return None


def said_of(drift: Drift) -> str:
    """Say in words what was found."""
    where = f" in {drift.module}" if drift.module else ""
    line = f" ({drift.source})" if drift.source else ""
    ratio = "not finite" if drift.snr_db is None else f"{drift.snr_db:.1f} dB"
    return f"the first operator that drifts is {drift.operator}{where}{line}: {ratio} on {drift.input}"


@dataclass
class _Search:
    """Lowers programs with other ends, and compares what comes out with PyTorch."""

    module: nn.Module
    exporter: Exporter
    spec: ExportSpec
    contract: Contract
    item: VerificationInput
    started: float = field(default_factory=time.monotonic)
    lasted: float = 0.0
    known: dict[Node, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import torch

        from mobilevit_tools.forms._base import mutates

        example = torch.tensor(self.item.tensor)
        free = self.spec.options.free_batch
        with torch.no_grad():
            program = torch.export.export(
                self.module,
                (example.repeat(2, 1, 1, 1) if free else example,),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},) if free else None,
                strict=False,
            )
            if any(mutates(node) for node in program.graph.nodes):  # what is changed later could not be given out
                program = program.run_decompositions({})
            self.graph: GraphModule = program.module(check_guards=False)
            self.wanted = _values(self.graph, example)
            self.floor = _floor(self.graph, example, self.wanted)
        self.nodes = [node for node in self.graph.graph.nodes if node in self.wanted]

    def first_of(self, nodes: Sequence[Node]) -> Node | None:
        """Return the first of ``nodes`` that drifts, all of what it reads being right; None where none does."""
        from mobilevit_tools.precision.execution import moves_values

        left = [node for node in nodes if not moves_values(node)] or list(nodes)
        first: Node | None = None
        while True:
            step = -(-len(left) // AT_ONCE)
            asked = [*left[step - 1 : -1 : step], left[-1]] if left else []
            self.measure(asked)
            wrong = next((node for node in asked if self.drifts(node)), None)
            if wrong is None:
                return first
            first = wrong
            before = asked[: asked.index(wrong)]
            start = self.nodes.index(before[-1]) + 1 if before else 0
            between = [node for node in self.nodes[start : self.nodes.index(wrong)] if node not in self.known]
            if not between:
                break
            left = [*between, wrong]
        return self._behind(first, self.measure)

    def first_by_halves(self, nodes: Sequence[Node]) -> Node | None:
        """Return an operator that drifts where the program ends with it, while it does not where it ends before it."""
        right, wrong = -1, len(nodes) - 1
        self.known.clear()
        self._alone([nodes[wrong]])
        if not self.drifts(nodes[wrong]):
            return None
        while wrong - right > 1:
            middle = (right + wrong) // 2
            self._alone([nodes[middle]])
            right, wrong = (right, middle) if self.drifts(nodes[middle]) else (middle, wrong)
        return self._behind(nodes[wrong], self._alone)

    def _behind(self, node: Node, measure: Callable[[Sequence[Node]], None]) -> Node:
        """Go back from a node to what it reads, for as long as that drifts, too."""
        while True:
            read = [each for each in node.all_input_nodes if each in self.wanted]
            measure([each for each in read if each not in self.known])
            drifting = [each for each in read if self.drifts(each)]
            if not drifting:
                return node
            node = drifting[0]

    def drifts(self, node: Node) -> bool:
        """Tell whether a node that was measured is farther from PyTorch than float32 explains."""
        return self.known[node] < min(GATES["fp32"].snr_db, self.floor.get(node, MAX_SNR_DB) - FLOOR_MARGIN_DB)

    def _alone(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self.measure([node])

    def measure(self, nodes: Sequence[Node]) -> None:
        """Lower and run the program with ``nodes`` as its outputs; raises where that would take too long."""
        if not nodes:
            return
        began = time.monotonic()
        if began - self.started + self.lasted > BUDGET_S:
            raise _UnfoundError
        contract = replace(self.contract, output="features", labels=None, outputs=())
        with TemporaryDirectory(prefix="mvt-drift-") as folder:
            path = Path(folder) / self.spec.file_name
            self.exporter.lower(_ending_with(self.graph, nodes), self.spec, contract, path)
            with open_made(path) as session:
                given = session.feed(self.item.tensor, self.item.pixels)
                if given is None:
                    raise _UnfoundError
                outputs = session.run(given.copy())
        for node, output in zip(nodes, outputs, strict=True):
            self.known[node] = _ratio(self.wanted[node], output)
        self.lasted = time.monotonic() - began

    def describe(self, node: Node) -> Drift:
        from mobilevit_tools.precision.operators import operator_name, owner

        read = [self.known[each] for each in node.all_input_nodes if each in self.known]
        ratio = self.known[node]
        return Drift(
            operator=operator_name(node),
            name=node.name,
            module=owner(node),
            source=line_in(node.meta.get("stack_trace") or ""),
            snr_db=None if ratio == BROKEN_DB else ratio,
            inputs_snr_db=min(read) if read else None,
            input=self.item.name,
        )


def _ending_with(module: GraphModule, nodes: Sequence[Node]) -> nn.Module:
    """Return a copy of a traced program that gives the results of ``nodes``, and computes nothing else."""
    from torch.fx import Graph, GraphModule

    graph = Graph()
    copies: dict[Node, Node] = {}
    for node in module.graph.nodes:
        if node.op != "output":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output([copies[node] for node in nodes])
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
    return GraphModule(module, graph).eval()


def _values(module: GraphModule, example: torch.Tensor) -> dict[Node, Any]:
    """Run a traced program and return every real-valued tensor that an operator gives."""
    import torch

    from mobilevit_tools.analysis.watching import Watching

    values: dict[Node, Any] = {}

    def see(node: Node, _arguments: tuple[Any, ...], result: Any) -> None:
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            values[node] = result.detach().numpy().copy()

    Watching(module, lambda node: node.op == "call_function", see).run(example.clone())
    return values


def _floor(module: GraphModule, example: torch.Tensor, wanted: Mapping[Node, Any]) -> dict[Node, float]:
    """Return how near float32 is to float64 at every operator; nothing where the program does not run in float64."""
    import copy

    from mobilevit_tools.double import InDouble

    double = copy.deepcopy(module).double()
    try:
        with InDouble():
            exact = _values(double, example.double())
    except RuntimeError:
        return {}
    by_name = {node.name: value for node, value in exact.items()}
    return {node: _ratio(by_name[node.name], value) for node, value in wanted.items() if node.name in by_name}


def _ratio(wanted: Any, got: Any) -> float:
    if wanted.shape != got.shape:
        return BROKEN_DB
    found = distance(wanted, got).snr_db
    return BROKEN_DB if found is None else found
