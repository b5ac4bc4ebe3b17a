"""The pieces that a program with a backend falls into: calls into the backend, and what runs between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from mobilevit_tools.errors import BadInputError

_LARGEST = 1 << 63


@dataclass(frozen=True)
class Piece:
    """One call into a backend, or the operators that run between two calls.

    Attributes:
        delegated: Whether it is a call.
        operators: Its operators by type, and how often each occurs; empty where nothing tells what is in a call.
        macs: Its multiply-accumulates; None where they are unknown.
        reads: The places of the earlier pieces that it takes values from, the first piece at 0.

    Raises:
        BadInputError: A number cannot be one of these.
    """

    delegated: bool
    operators: Mapping[str, int] = field(default_factory=dict)
    macs: int | None = None
    reads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no program has."""
        if not all(0 <= number < _LARGEST for number in (*self.operators.values(), self.macs or 0, *self.reads)):
            raise BadInputError("A number in its delegation is negative or too large.", code="bad_manifest")


@dataclass(frozen=True)
class Step:
    """A call or an operator, as a format tells of it.

    Attributes:
        delegated: Whether it is a call.
        operators: The operator, or the operators inside the call.
        macs: Their multiply-accumulates; None where they are unknown.
        reads: What it reads, by names that the format gives.
        writes: What it makes.
    """

    delegated: bool
    operators: Mapping[str, int]
    macs: int | None
    reads: frozenset[Hashable] = frozenset()
    writes: frozenset[Hashable] = frozenset()


def pieces_of(steps: Iterable[Step]) -> tuple[Piece, ...]:
    """Join what runs between two calls; ``steps`` are in order of execution."""
    runs: list[list[Step]] = []
    for step in steps:
        if runs and not step.delegated and not runs[-1][0].delegated:
            runs[-1].append(step)
        else:
            runs.append([step])
    makers: dict[Hashable, int] = {}
    found = []
    for place, run in enumerate(runs):
        counts: Counter[str] = Counter()
        sources: set[int] = set()
        for step in run:
            counts.update(step.operators)
            sources.update(makers[value] for value in step.reads if value in makers)
            makers.update(dict.fromkeys(step.writes, place))
        macs = [step.macs for step in run]
        total = None if None in macs else sum(each or 0 for each in macs)
        found.append(Piece(run[0].delegated, dict(sorted(counts.items())), total, tuple(sorted(sources - {place}))))
    return tuple(found)
