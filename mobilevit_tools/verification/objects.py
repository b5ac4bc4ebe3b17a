"""How objects are judged: as detections, of which each box has its best class alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.tasks.detect import rows_of
from mobilevit_tools.verification import detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import OutputKind
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.judging import Outputs
    from mobilevit_tools.verification.parity import InputResult
    from mobilevit_tools.verification.reference import Exact
    from mobilevit_tools.verification.tolerances import Tolerance

together, verdict = detections.together, detections.verdict


def misfit(expected: Sequence[list[NDArray[Any]]], outputs: Sequence[NDArray[Any]]) -> str | None:
    """Say how outputs hold no objects of the model's classes."""
    classes = expected[0][1].shape[2]
    shapes = [each.shape for each in outputs]
    if len(shapes) != 2 or [len(shape) for shape in shapes] != [3, 3] or shapes[0][:2] != shapes[1][:2]:
        return f"the artifact gives {', '.join(map(str, shapes))}, which are not confidences and coordinates"
    if shapes[0][2] != classes or shapes[1][2] != 4:
        return (
            f"The artifact's objects have {shapes[0][2]} classes and {shapes[1][2]} coordinates, not {classes} and 4."
        )
    if not all(np.isfinite(each).all() for each in outputs):
        return "the artifact's objects are not finite"
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
    """Compare objects with the model's boxes; see :func:`mobilevit_tools.verification.judging.judge_input`."""
    boxes, scores = wanted
    first, last = boxes[:, :2], boxes[:, 2:]
    half, middle = np.maximum(last - first, 0) / 2, (first + last) / 2
    placed = np.concatenate([middle - half, middle + half], 1)
    height, width = item.tensor.shape[-2:]
    return detections.judge(item, (placed, scores), rows_of(got[0], got[1], (height, width)), tolerance, one_class=True)
