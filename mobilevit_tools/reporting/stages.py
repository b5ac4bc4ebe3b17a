"""Operator times by kind and, where the artifact's weights still carry the model's names, by stage of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.profiling.result import ProfileResult

_REORDERED = "_nchwc"
"""What ONNX Runtime appends to an output's name where it runs the operator in a layout of its own."""

_SMALLEST_SHARE = 0.01
_MOST_SHARES = 14


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
        The stages; None where the artifact is not here any more, is not ONNX, or names no stages.
    """
    if profile.per_op is None or profile.target != "onnx" or not _is_here(artifact, size_bytes):
        return None
    stages = _stages_of(artifact)
    if not stages:
        return None
    found: dict[str, list[float]] = {}
    current = next(iter(stages.values()))
    for operator in profile.per_op:
        current = stages.get(operator.name.removesuffix(_REORDERED), current)
        found.setdefault(current, []).append(operator.ms)
    return tuple(Share(name, sum(times), len(times)) for name, times in found.items())


def _is_here(artifact: Path, size_bytes: int | None) -> bool:
    try:
        return artifact.is_file() and artifact.stat().st_size == size_bytes
    except OSError:
        return False


def _stages_of(artifact: Path) -> Mapping[str, str]:
    """Map the names of operators, and of their outputs, to stages."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(artifact, load_external_data=False).graph
    except (DecodeError, OSError):
        return {}
    weights = {weight.name for weight in graph.initializer}
    stages: dict[str, str] = {}
    for node in graph.node:
        stage = next((stage_name(name) for name in node.input if name in weights and "." in name), None)
        if stage is not None:
            stages |= dict.fromkeys((node.name, *node.output), stage)
    return stages


def stage_name(weight: str) -> str:
    """Return the stage of a weight: its first name, and the number in a list of stages.

    ``stem.0.weight`` belongs to ``stem``, ``stages.1.blocks.0.norm.weight`` to ``stages.1``.
    """
    parts = weight.split(".")
    composite = len(parts) > 3 and parts[1].isdecimal()
    return ".".join(parts[:2]) if composite else parts[0]
