"""Operator times added up by type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobilevit_tools.devices import OperatorTime


@dataclass(frozen=True)
class Share:
    """A part of an inference.

    Attributes:
        name: An operator type, or a stage.
        ms: Mean milliseconds per inference.
        operators: How many operators it is made of.
        delegate: Whether it ran inside a delegate; None where both occur or it does not apply.
    """

    name: str
    ms: float
    operators: int
    delegate: bool | None = None


def by_kind(operators: Sequence[OperatorTime]) -> tuple[Share, ...]:
    """Add up operator times by type, the largest first."""
    groups: dict[tuple[str, bool], list[float]] = {}
    for operator in operators:
        groups.setdefault((operator.kind, operator.delegate), []).append(operator.ms)
    shares = [Share(kind, sum(times), len(times), delegate) for (kind, delegate), times in groups.items()]
    return tuple(sorted(shares, key=lambda share: (-share.ms, share.name)))
