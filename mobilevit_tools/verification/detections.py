"""How detections are judged that an artifact has chosen by itself: values, suppression and completeness.

Rounding may swap two overlapping boxes of almost the same score, so the choice itself is not compared. Each detection
must be one of the model's boxes with its score, none may overlap a better one of its class, and each of the model's own
detections must be there, or one of the same class that it overlaps and whose score is as high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.tasks.suppression import LEAST_SCORE, MOST_DETECTIONS, MOST_OVERLAP, overlaps, suppress
from mobilevit_tools.verification.boxes import Nearness, nearness
from mobilevit_tools.verification.metrics import NO_DISTANCE
from mobilevit_tools.verification.parity import BoxAgreement, InputResult, Parity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import OutputKind
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.judging import Outputs
    from mobilevit_tools.verification.reference import Exact
    from mobilevit_tools.verification.tolerances import Tolerance

COLUMNS = 6
_SLACK = 0.05
"""Of the overlap at which boxes are dropped, which rounding moves."""


def misfit(expected: Sequence[list[NDArray[Any]]], outputs: Sequence[NDArray[Any]]) -> str | None:
    """Say how a batch's output holds no detections of the model's classes."""
    if len(outputs) != 1:
        return f"the artifact has {len(outputs)} outputs, not 1"
    given, count, classes = outputs[0], *expected[0][1].shape[1:]
    shape = (len(expected), min(MOST_DETECTIONS, count * classes), COLUMNS)
    if given.shape != shape:
        return f"the artifact's detections have shape {given.shape}, not {shape}"
    if not np.isfinite(given).all():
        return "the artifact's detections are not finite"
    kinds = given[..., 5]
    if (kinds != np.floor(kinds)).any() or kinds.min() < 0 or kinds.max() >= classes:
        return f"the artifact's detections are of what is none of the {classes} classes"
    return None


def judge_input(
    item: VerificationInput,
    wanted: Outputs,
    got: Outputs,
    tolerance: Tolerance,
    *,
    holds: OutputKind,  # noqa: ARG001
    exact: Callable[[], Exact | None],  # noqa: ARG001
) -> InputResult:
    """Compare detections with the model's boxes; see :func:`mobilevit_tools.verification.judging.judge_input`."""
    return judge(item, wanted, got[0], tolerance, one_class=False)


def judge(
    item: VerificationInput,
    wanted: Outputs,
    rows: NDArray[np.float64],
    tolerance: Tolerance,
    *,
    one_class: bool,
) -> InputResult:
    """Compare detections (K, 6) with the model's boxes and scores.

    Args:
        item: The input.
        wanted: The model's boxes (N, 4) and scores (N, classes).
        rows: What the artifact has chosen.
        tolerance: The gate.
        one_class: Whether a box is of its best class alone; rounding decides between classes of almost equal scores.
    """
    near, side = nearness(tolerance), float(max(item.tensor.shape[-2:]))
    found = rows[rows[:, 4] > 0]
    found = found[np.argsort(-found[:, 4], kind="stable")]
    right = [
        _is_models(row, wanted, near, side) and not _is_double(row, found[:place]) for place, row in enumerate(found)
    ]
    scores = wanted[1]
    best = scores.max(axis=1, keepdims=True)
    kept = suppress(wanted[0], np.where(scores >= best, scores, 0.0) if one_class else scores)
    # The least of a full list, or of those above the threshold, may be another one.
    full = len(kept.scores) == MOST_DETECTIONS
    least = (float(kept.scores[-1]) if full else LEAST_SCORE) + near.score
    present = [
        any(
            _is_there(wanted[0][place], int(each), score, found, near)
            for each in (np.flatnonzero(scores[place] >= score - near.score) if one_class else (kind,))
        )
        for place, kind, score in zip(kept.boxes, kept.classes, kept.scores, strict=True)
        if score > least
    ]
    both = np.array([*right, *present], bool)
    boxes = BoxAgreement(float(both.mean()), float(bool(both.all())), 0.0) if both.size else None
    return InputResult(item.name, item.kind, NO_DISTANCE, same_top1=None, near_tie=False, boxes=boxes)


def together(results: Sequence[InputResult]) -> InputResult:
    """Return the worst of what was found of one input in several batches."""
    return min(results, key=lambda each: 1.0 if each.boxes is None else each.boxes.same)


def verdict(results: Sequence[InputResult], tolerance: Tolerance, *, unresponsive: bool) -> Parity:  # noqa: ARG001
    """Hold the share of right detections against that of equal predictions in the gate of classifiers."""
    judged = [each for each in results if each.kind in tolerance.judged]
    held_out = [each for each in results if each.kind == "held-out"]
    counted = [(each.boxes.same, each.name) for each in held_out or judged if each.boxes is not None]
    found = Parity(status="passed", inputs=len(results), held_out=len(held_out), results=tuple(results))
    if not counted:
        return replace(
            found,
            status="not_verified",
            reason="Neither the model nor the artifact detects anything; pass photos with something to detect with "
            "--images.",
        )
    share = float(np.mean([same for same, _ in counted]))
    found = replace(found, box_agreement=share)
    if share >= tolerance.top1_agreement:
        return found
    return replace(
        found,
        status="failed",
        reason=f"{share:.1%} of the detections are right, below {tolerance.top1_agreement:.0%}, worst on "
        f"{min(counted)[1]}",
    )


def _is_models(row: NDArray[np.float64], wanted: Outputs, near: Nearness, side: float) -> bool:
    """Tell whether a detection is one of the model's boxes, with its score of that class."""
    boxes, scores = wanted
    shift = np.abs(boxes - row[:4]).max(axis=1) <= near.shift * side
    placed = shift | (overlaps(boxes, row[None, :4]) >= near.overlap)
    return bool((placed & (np.abs(scores[:, int(row[5])] - row[4]) <= near.score)).any())


def _is_double(row: NDArray[np.float64], better: NDArray[np.float64]) -> bool:
    """Tell whether a detection overlaps one of its class among those that are better, or as good and before it."""
    same = better[better[:, 5] == row[5]]
    return bool((overlaps(same[:, :4], row[None, :4]) > MOST_OVERLAP + _SLACK).any())


def _is_there(box: NDArray[Any], kind: int, score: float, found: NDArray[np.float64], near: Nearness) -> bool:
    """Tell whether a detection of the model's is there, or one that stands for it."""
    same = found[(found[:, 5] == kind) & (found[:, 4] >= score - near.score)]
    alike = np.abs(same[:, :4] - box).max(axis=1) == 0  # of boxes without an area
    return bool((alike | (overlaps(same[:, :4], np.asarray(box)[None]) >= MOST_OVERLAP - _SLACK)).any())
