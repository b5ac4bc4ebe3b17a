"""The graph of one artifact as nodes: its operators, or its calls into a backend and what runs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.pieces import Piece

_FUSED = "/"
"""What a runtime puts between the name of an operator and the name of the fusion that it underwent."""


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        label: What it is called.
        delegated: Whether a backend runs it.
        layer: The layer that holds it; empty for none.
        attributes: What is known of it, as text.
        reads: The places of the nodes that it takes values from, the first node at 0.
        names: What a runtime may call it; empty where only the order of execution tells nodes apart.
    """

    label: str
    delegated: bool = False
    layer: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[int, ...] = ()
    names: frozenset[str] = frozenset()


def nodes_of_pieces(pieces: Sequence[Piece]) -> tuple[Node, ...]:
    """Return a node for each piece, with its operators and MACs as attributes."""
    calls, nodes = 0, []
    for piece in pieces:
        calls += piece.delegated
        label = f"Call {calls}, delegated" if piece.delegated else "Not delegated"
        macs = {} if piece.macs is None else {"MACs": f"{piece.macs:,}"}
        operators = {name: f"{count:,}" for name, count in piece.operators.items()}
        nodes.append(Node(label, piece.delegated, attributes={**macs, **operators}, reads=piece.reads))
    return tuple(nodes)


def times_of(nodes: Sequence[Node], operators: Sequence[OperatorTime]) -> dict[int, float]:
    """Return the milliseconds of each node that ran, by its place.

    A runtime adds operators of its own, such as a change of layout; these belong to no node.

    Raises:
        BadInputError: The operators are not those of the graph.
    """
    named = {name: place for place, node in enumerate(nodes) for name in node.names}
    times: dict[int, float] = {}
    if named:
        for operator in operators:
            place = named.get(operator.name, named.get(operator.name.partition(_FUSED)[0]))
            if place is not None:
                times[place] = times.get(place, 0.0) + operator.ms
    else:
        runs = [
            (delegated, sum(operator.ms for operator in run))
            for (delegated, _), run in groupby(operators, lambda operator: (operator.delegate, operator.call))
        ]
        if [delegated for delegated, _ in runs] == [node.delegated for node in nodes]:
            times = {place: ms for place, (_, ms) in enumerate(runs)}
    if not times:
        raise BadInputError(
            "The operators that the runtime timed are not those of the artifact's graph.",
            hint="Use --trace or --per-op, which take them as they ran.",
            code="operators_differ",
        )
    return times
