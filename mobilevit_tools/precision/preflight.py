"""Before a conversion to half precision: what overflows, what vanishes, and what must stay in float32.

The traced program is run on the verification inputs with every result rounded to half. Where it misses the gate of
half precision, the smallest set of operators that restores the gate is looked for: first the operators whose values
leave the range together with those that read them, then the modules around them, then all operators; the first of
these sets that passes is shrunk until every member is needed.

Where a finished artifact misses the gate although the model meets it, the sums of products are modelled as narrow, too,
and the operators with the longest sums are kept, as few lengths as restore the gate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from mobilevit_tools.precision.execution import source
from mobilevit_tools.precision.operators import computing, kept_operator, operator_name, owner, select
from mobilevit_tools.precision.record import Finding, Preflight
from mobilevit_tools.precision.search import drop_runs, drop_singles
from mobilevit_tools.precision.simulation import Simulation
from mobilevit_tools.precision.sums import long_sums, terms
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.reference import Reference
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import GATES

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.verification.inputs import VerificationInput

LARGEST_HALF = 65504.0
VANISHED_SHARE = 0.5
"""A value is reported as vanished where at least this share of its nonzero elements round to zero."""
_GATE = replace(GATES["fp16"], near_ties=1.0)
"""Asked input by input, of which each may be the one that is excused."""
MAX_RUNS = 1000
"""Simulated inferences that a search may take; what has been found until then is taken."""


@dataclass
class _Extent:
    """The worst of one value, and the inputs on which it was, by index and by name; names may repeat."""

    largest: float = 0.0
    vanished: float = 0.0
    largest_at: int | None = None
    largest_on: str = ""
    vanished_on: str = ""


@dataclass
class _Measuring:
    """Collects the extent of every value over a number of inputs."""

    extents: dict[Node, _Extent] = field(default_factory=dict)
    index: int | None = None
    input: str = ""

    def see(self, node: Node, value: Tensor) -> None:
        extent = self.extents.setdefault(node, _Extent())
        magnitude = value.abs()
        largest = float(magnitude.max().nan_to_num(nan=math.inf)) if value.numel() else 0.0
        nonzero = int(torch.count_nonzero(magnitude))
        vanished = 1 - int(torch.count_nonzero(magnitude.half())) / nonzero if nonzero else 0.0
        if largest > extent.largest:
            extent.largest, extent.largest_at, extent.largest_on = largest, self.index, self.input
        if vanished > extent.vanished:
            extent.vanished, extent.vanished_on = vanished, self.input


class _BudgetSpentError(Exception):
    """A search has taken as many simulated inferences as it may."""


class _Gate:
    """The gate of half precision, asked with different operators kept.

    A search asks about few inputs, the telling ones; where its result misses the gate on another, that one joins them.

    Attributes:
        runs: How many inferences were simulated.
        best: The smallest set that is known to meet the gate on all inputs; None before there is one.
    """

    def __init__(
        self,
        module: GraphModule,
        contract: Contract,
        reference: Reference,
        inputs: Sequence[VerificationInput],
        *,
        narrow_sums: bool,
    ) -> None:
        self._module, self._contract, self._narrow_sums = module, contract, narrow_sums
        self._inputs = [item for item in inputs if contract.input == "tensor" or item.pixels is not None]
        self._expected = [reference(item.tensor) for item in self._inputs]
        self._telling: list[int] = []
        self.runs = 0
        self.best: Sequence[Node] | None = None

    def _judge(self, simulation: Simulation, index: int) -> Parity:
        self.runs += 1
        return verify_session(simulation, lambda _: self._expected[index], [self._inputs[index]], _GATE)

    def _first_miss(self, keep: Sequence[Node], indices: Sequence[int]) -> int | None:
        names = [node.name for node in keep]
        simulation = Simulation(self._module, self._contract, keep=names, narrow_sums=self._narrow_sums)
        return next((index for index in indices if self._judge(simulation, index).status != "passed"), None)

    def seems_met(self, keep: Sequence[Node]) -> bool:
        """Tell whether the gate is met on the telling inputs.

        Raises:
            _BudgetSpentError: Too many inferences were simulated already.
        """
        if self.runs >= MAX_RUNS:
            raise _BudgetSpentError
        missed = self._first_miss(keep, self._telling)
        if missed is not None:
            self.tell([missed])
        return missed is None

    def is_met(self, keep: Sequence[Node]) -> bool:
        """Tell whether the gate is met on every input; one on which it is missed becomes a telling one."""
        missed = self._first_miss(keep, range(len(self._inputs)))
        if missed is not None:
            self.tell([missed])
        elif self.best is None or len(keep) < len(self.best):
            self.best = keep
        return missed is None

    def tell(self, indices: Sequence[int]) -> None:
        """Put the inputs at these indices first among the telling ones."""
        self._telling = [*indices, *(index for index in self._telling if index not in indices)]

    def measure(self, *, rounds: bool) -> tuple[dict[Node, _Extent], str | None]:
        """Run every input with nothing kept; return the extent of every value, and the first reason to fail."""
        measuring = _Measuring()
        simulation = Simulation(
            self._module, self._contract, observe=measuring.see, rounds=rounds, narrow_sums=self._narrow_sums
        )
        reasons = []
        for index, item in enumerate(self._inputs):
            measuring.index, measuring.input = index, item.name
            reasons.append(self._judge(simulation, index).reason)
        return measuring.extents, next((reason for reason in reasons if reason), None)


def run_preflight(
    program: ExportedProgram,
    contract: Contract,
    reference: Reference,
    inputs: Sequence[VerificationInput],
    keep: Sequence[str] | None = None,
    *,
    narrow_sums: bool = False,
) -> Preflight:
    """Measure a program in modelled half precision and find what must stay in float32.

    Args:
        program: What will be converted, traced in float32.
        contract: What its input and output are.
        reference: The model that the gate compares with.
        inputs: The inputs to measure and to judge on.
        keep: Names of operators or modules to keep, whatever a measurement would say.
        narrow_sums: Model a runtime that adds up products in half precision; what is kept is then not minimal.

    Raises:
        UsageError: ``keep`` names what the program does not have.
    """
    module = program.module(check_guards=False)
    if keep is not None:
        return Preflight(tuple(kept_operator(node, "asked for") for node in select(module, keep)))
    gate = _Gate(module, contract, reference, inputs, narrow_sums=narrow_sums)
    extents, plain = gate.measure(rounds=True)
    if plain is None:
        return Preflight((), _findings(module, extents), values=len(extents), runs=gate.runs)
    exact, _ = gate.measure(rounds=False)
    counts = Counter(
        extent.largest_at
        for extent in exact.values()
        if extent.largest > LARGEST_HALF and extent.largest_at is not None
    )
    gate.tell([index for index, _ in counts.most_common(1)])
    starts = _starts(module, exact)
    nodes: Sequence[Node] | None
    try:
        if narrow_sums:
            sets = [*starts[:-1], *long_sums(module, starts[0] if starts[1:] else ()), starts[-1]]
            nodes, minimal = next((each for each in sets if gate.is_met(each)), None), False
        else:
            nodes, minimal = _search(starts, gate), True
    except _BudgetSpentError:
        nodes, minimal = gate.best, False
    return Preflight(
        keep=tuple(kept_operator(node, _reason(node, exact, narrow_sums=narrow_sums)) for node in nodes or ()),
        findings=_findings(module, exact),
        plain=plain,
        restored=nodes is not None,
        minimal=minimal and nodes is not None,
        values=len(exact),
        runs=gate.runs,
    )


def _search(starts: Sequence[Sequence[Node]], gate: _Gate) -> Sequence[Node] | None:
    """Return operators that restore the gate, each of them needed; None where not even all operators restore it."""
    too_small: Sequence[Node] = ()
    for start in starts:
        if gate.is_met(start):
            break
        too_small = start
    else:
        return None
    chosen = _complete(too_small, start, gate)
    while True:
        left = drop_singles(chosen, gate.seems_met)
        if gate.is_met(left):
            return left
        chosen = _complete(left, chosen, gate)


def _complete(base: Sequence[Node], whole: Sequence[Node], gate: _Gate) -> list[Node]:
    """Add to ``base`` what it takes, of ``whole``, to meet the gate on all inputs; ``whole`` meets it."""
    present = set(base)

    def joined(added: Sequence[Node]) -> list[Node]:
        members = present.union(added)
        return [node for node in whole if node in members]

    while not gate.is_met(joined(())):
        rest = [node for node in whole if node not in present]
        present.update(drop_runs(rest, lambda added: gate.seems_met(joined(added))))
    return joined(())


def _starts(module: GraphModule, extents: dict[Node, _Extent]) -> list[list[Node]]:
    """Return ever larger sets of operators that may restore the gate, each in the order of the program."""
    nodes = computing(module.graph)
    out_of_range = {node for node in nodes if node in extents and extents[node].largest > LARGEST_HALF}
    vanished = {node for node in nodes if node in extents and extents[node].vanished >= VANISHED_SHARE}

    def with_readers(chosen: set[Node]) -> list[Node]:
        return [
            node for node in nodes if node in chosen or any(source(each) in chosen for each in node.all_input_nodes)
        ]

    overflow, trouble = with_readers(out_of_range), with_readers(out_of_range | vanished)
    owners = {owner(node) for node in trouble}
    around = [node for node in nodes if owner(node) in owners]
    sets = [overflow, trouble, around, nodes]
    return [members for index, members in enumerate(sets) if members and members not in sets[:index]]


def _findings(module: GraphModule, extents: dict[Node, _Extent]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            name=node.name,
            operator=operator_name(node),
            module=owner(node),
            kind="overflow" if extent.largest > LARGEST_HALF else "underflow",
            largest=extent.largest,
            vanished=extent.vanished,
            input=extent.largest_on if extent.largest > LARGEST_HALF else extent.vanished_on,
        )
        for node in module.graph.nodes
        if (extent := extents.get(node)) and (extent.largest > LARGEST_HALF or extent.vanished >= VANISHED_SHARE)
    )


def _reason(node: Node, extents: dict[Node, _Extent], *, narrow_sums: bool) -> str:
    def overflows(each: Node) -> bool:
        return each in extents and extents[each].largest > LARGEST_HALF

    extent = extents.get(node, _Extent())
    if overflows(node):
        return f"overflow: it reaches {extent.largest:.3g} on {extent.largest_on}, beyond the limit of 65504"
    beyond = next((source(each) for each in node.all_input_nodes if overflows(source(each))), None)
    if beyond is not None:
        return f"overflow: it reads {beyond.name}, which exceeds half precision"
    if extent.vanished >= VANISHED_SHARE:
        return f"underflow: {extent.vanished:.0%} of its nonzero values round to zero on {extent.vanished_on}"
    if narrow_sums:
        count = terms(node)
        return f"precision: it adds up {count} products" if count > 1 else "precision: its neighbours are in float32"
    return "precision: the gate fails without it"
