"""What two artifacts compute with: operators by count, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobilevit_tools.runtimes._base import Session, TensorInfo


@dataclass(frozen=True)
class OperatorChange:
    """An operator type that the two use differently often, or in other precisions.

    Attributes:
        type: Operator type.
        a: How often the first uses it.
        b: How often the second does.
        precisions_a: Element types of its results in the first; empty where unknown.
        precisions_b: In the second.
    """

    type: str
    a: int
    b: int
    precisions_a: Mapping[str, int]
    precisions_b: Mapping[str, int]


@dataclass(frozen=True)
class TensorChange:
    """An input or output that is not the same on both sides.

    Attributes:
        position: Its place among the inputs or outputs, from 0.
        a: What the first has there; None where it has fewer.
        b: What the second has.
    """

    position: int
    a: TensorInfo | None
    b: TensorInfo | None


@dataclass(frozen=True)
class GraphDiff:
    """How two graphs differ.

    Attributes:
        operators_a: Operators of the first.
        operators_b: Operators of the second.
        operators: The types that differ, the largest difference first.
        inputs: Inputs that differ, compared by position.
        outputs: Outputs that differ, likewise.
    """

    operators_a: int
    operators_b: int
    operators: tuple[OperatorChange, ...]
    inputs: tuple[TensorChange, ...]
    outputs: tuple[TensorChange, ...]


def diff_graphs(a: Session, b: Session) -> GraphDiff:
    """Compare two artifacts by what their sessions tell of them."""
    uses_a, uses_b = ({use.type: use for use in session.operator_uses()} for session in (a, b))
    changes = []
    for name in sorted(uses_a.keys() | uses_b.keys()):
        one, other = uses_a.get(name), uses_b.get(name)
        if one is None or other is None or (one.count, one.precisions) != (other.count, other.precisions):
            changes.append(
                OperatorChange(
                    name,
                    one.count if one else 0,
                    other.count if other else 0,
                    one.precisions if one else {},
                    other.precisions if other else {},
                )
            )
    return GraphDiff(
        operators_a=sum(use.count for use in uses_a.values()),
        operators_b=sum(use.count for use in uses_b.values()),
        operators=tuple(sorted(changes, key=lambda change: (-abs(change.b - change.a), change.type))),
        inputs=_tensors(a.inputs, b.inputs),
        outputs=_tensors(a.outputs, b.outputs),
    )


def _tensors(a: Sequence[TensorInfo], b: Sequence[TensorInfo]) -> tuple[TensorChange, ...]:
    longest = max(len(a), len(b))
    pairs = [(a[place] if place < len(a) else None, b[place] if place < len(b) else None) for place in range(longest)]
    return tuple(TensorChange(place, one, other) for place, (one, other) in enumerate(pairs) if one != other)
