"""Operator times as plots show them: the largest and, where weights still carry the model's names, by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mobilevit_tools.profiling.kinds import Share
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.targets._base import load
from mobilevit_tools.targets.registry import TARGETS

_SMALLEST_SHARE = 0.01
_MOST_SHARES = 14


def largest(shares: Sequence[Share]) -> tuple[Share, ...]:
    """Return the shares that can be seen in a plot, and the others as one."""
    total = sum(share.ms for share in shares)
    shown = [share for share in shares if share.ms >= _SMALLEST_SHARE * total][:_MOST_SHARES]
    rest = [share for share in shares if share not in shown]
    if not rest:
        return tuple(shown)
    inside = {share.delegate for share in rest}
    name = f"{len(rest)} other type{'s' * (len(rest) != 1)}"
    operators, ms = sum(share.operators for share in rest), sum(share.ms for share in rest)
    return (*shown, Share(name, ms, operators, inside.pop() if len(inside) == 1 else None))


def by_stage(profile: ProfileResult, artifact: Path, size_bytes: int | None) -> tuple[Share, ...] | None:
    """Add up operator times by stage, in order of execution.

    An operator with weights belongs to the stage that its weights are named after; one without belongs to the stage of
    the operator before it.

    Returns:
        The stages; None where the artifact is not here any more, or keeps no names of stages.
    """
    target = TARGETS.get(profile.target)
    if target is None or target.stage_reader is None or profile.per_op is None or not _is_here(artifact, size_bytes):
        return None
    stages: Mapping[str, str] = load(target.stage_reader)(artifact)
    if not stages:
        return None
    found: dict[str, list[float]] = {}
    current = next(iter(stages.values()))
    for operator in profile.per_op:
        current = stages.get(operator.name, current)
        found.setdefault(current, []).append(operator.ms)
    return tuple(Share(name, sum(times), len(times)) for name, times in found.items())


def _is_here(artifact: Path, size_bytes: int | None) -> bool:
    try:
        return artifact.is_file() and artifact.stat().st_size == size_bytes
    except OSError:
        return False
