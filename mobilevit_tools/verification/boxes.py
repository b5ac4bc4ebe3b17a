"""How detectors are judged: by the distance of boxes and scores, and by how far those that count overlap the model's.

A model that sorts its boxes by score has them in another order where rounding changed one. So boxes that are away from
the model's of the same place are compared with the nearest of the others that are, each with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.tasks.suppression import overlaps, suppress
from mobilevit_tools.verification import judging
from mobilevit_tools.verification.parity import BoxAgreement, InputResult, Parity
from mobilevit_tools.verification.reference import Exact
from mobilevit_tools.verification.tolerances import GATES, Tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import OutputKind
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.judging import Outputs

MOST_REORDERED = 1000
"""Boxes whose order may differ; heads that give more have a place for each."""

misfit = judging.misfit


@dataclass(frozen=True)
class Nearness:
    """When one of an artifact's boxes is the model's.

    Attributes:
        overlap: Least intersection over union.
        shift: Or the largest shift of an edge, as a share of the input's longer side: little of a small box is much.
        score: Largest difference of scores.
    """

    overlap: float
    shift: float
    score: float


NEAR: Mapping[Tolerance, Nearness] = MappingProxyType(
    {
        GATES["fp32"]: Nearness(0.999, 1e-4, 1e-3),
        GATES["fp16"]: Nearness(0.9, 2e-3, 2e-2),
        GATES["int8-weight"]: Nearness(0.75, 1e-2, 0.1),
        GATES["int8"]: Nearness(0.5, 5e-2, 0.2),
    }
)


def judge_input(
    item: VerificationInput,
    wanted: Outputs,
    got: Outputs,
    tolerance: Tolerance,
    *,
    holds: OutputKind,  # noqa: ARG001
    exact: Callable[[], Exact | None],
) -> InputResult:
    """Compare boxes and scores; see :func:`mobilevit_tools.verification.judging.judge_input`."""
    if not all(np.isfinite(each).all() for each in got):
        return judging.judge_input(item, wanted, got, tolerance, holds="features", exact=exact)
    side = float(max(item.tensor.shape[-2:]))
    near = nearness(tolerance)
    aligned = _aligned(wanted, got, near, side)

    def ordered() -> Exact | None:
        known = exact()
        if known is None:
            return None
        return Exact(
            _aligned(wanted, known.float64, near, side),
            [_aligned(wanted, each, near, side) for each in known.float32],
        )

    result = judging.judge_input(item, wanted, aligned, tolerance, holds="features", exact=ordered)
    return replace(result, boxes=_agreement(wanted, aligned, near, side))


def nearness(tolerance: Tolerance) -> Nearness:
    """Return when a box is the model's by a gate, or by one derived from it."""
    return next(near for gate, near in NEAR.items() if gate.snr_db <= tolerance.snr_db)


def together(results: Sequence[InputResult]) -> InputResult:
    """Return the worst of what was found of one input in several batches."""
    found = [each.boxes for each in results if each.boxes is not None]
    return replace(judging.together(results), boxes=min(found, key=lambda each: each.same, default=None))


def verdict(results: Sequence[InputResult], tolerance: Tolerance, *, unresponsive: bool) -> Parity:
    """Hold distances against the gate, and the share of the model's detections that the artifact has.

    The share is that of equal predictions in the gate of classifiers. An input on which the model's own float32 misses
    the gate has no say in it.
    """
    found = judging.verdict(results, tolerance, unresponsive=unresponsive)
    judged = [each for each in results if each.kind in tolerance.judged]
    pool = [each for each in results if each.kind == "held-out"] or judged
    counted = [(each.boxes, each.name) for each in pool if each.boxes is not None and each.conditioning is None]
    if not counted:
        return found
    share = float(np.mean([boxes.same for boxes, _ in counted]))
    found = replace(found, box_agreement=share)
    if share >= tolerance.top1_agreement:
        return found
    boxes, name = min(counted, key=lambda each: each[0].same)
    said = (
        f"{share:.1%} of the detections match, below {tolerance.top1_agreement:.0%}, worst on "
        f"{name} (overlap down to {boxes.least_overlap:.4f}, scores up to {boxes.score_difference:.2g} apart)"
    )
    return replace(found, status="failed", reason=f"{found.reason}; {said}" if found.reason else said)


def _aligned(wanted: Outputs, got: Outputs, near: Nearness, side: float) -> list[NDArray[Any]]:
    """Return boxes and scores with those that are away from the model's in the order that is nearest to it."""
    boxes, scores = wanted
    away = np.flatnonzero(_apart(wanted, got, near, side) > 1)
    if len(boxes) > MOST_REORDERED or len(away) < 2:
        return list(got)
    order, free = np.arange(len(boxes)), away.copy()
    for place in away:
        one = boxes[place][None], scores[place][None]
        nearest = int(np.argmin(_apart(one, (got[0][free], got[1][free]), near, side)))
        order[place], free = free[nearest], np.delete(free, nearest)
    return [each[order] for each in got]


def _apart(wanted: Outputs, got: Outputs, near: Nearness, side: float) -> NDArray[np.float64]:
    """Return how far boxes with their scores are apart (N,), in units of what is near; above 1 is not."""
    shift = np.abs(got[0] - wanted[0]).max(axis=1) / side / near.shift
    return np.asarray(np.maximum(shift, np.abs(got[1] - wanted[1]).max(axis=1) / near.score), np.float64)


def _agreement(wanted: Outputs, got: Outputs, near: Nearness, side: float) -> BoxAgreement | None:
    """Compare what the model detects, and what the artifact does, with what the other has in that place.

    Every score counts, so that a model without training has detections as well.
    """
    same: list[NDArray[np.bool_]] = []
    overlap, difference = 1.0, 0.0
    for ours, theirs in ((wanted, got), (got, wanted)):
        kept = suppress(ours[0], ours[1], least_score=0.0)
        if not len(kept.boxes):
            continue
        over = overlaps(ours[0][kept.boxes], theirs[0][kept.boxes])
        shift = np.abs(ours[0][kept.boxes] - theirs[0][kept.boxes]).max(axis=1)
        still = shift <= near.shift * side
        scores = np.abs(kept.scores - theirs[1][kept.boxes, kept.classes])
        same.append((still | (over >= near.overlap)) & (scores <= near.score))
        overlap = min(overlap, float(np.where(shift > 0, over, 1.0).min()))
        difference = max(difference, float(scores.max()))
    if not same:
        return None
    return BoxAgreement(float(np.concatenate(same).mean()), overlap, difference)
