"""Detections pass where they are the model's, whichever of two equal boxes was kept, and fail where one is not."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.tasks.detect import best_of
from mobilevit_tools.verification.detections import judge_input, misfit, verdict
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.tolerances import GATES

SIDE, COUNT, CLASSES = 512, 40, 3
ROWS = 100


def scene(seed: int) -> list[np.ndarray]:
    """Boxes (COUNT, 4), far apart but for the first two, and scores (COUNT, CLASSES)."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(np.arange(8), np.arange(5)), -1).reshape(-1, 2) * 60.0
    boxes = np.concatenate([places, places + rng.uniform(20, 50, (COUNT, 2))], 1)
    scores = rng.random((COUNT, CLASSES)) * 0.9
    boxes[1], scores[0], scores[1] = boxes[0] + 1.0, (0.95, 0.0, 0.0), (0.95 - 1e-7, 0.0, 0.0)
    return [boxes, scores]


def padded(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.zeros((ROWS - len(rows), 6))])


def judged(rows: np.ndarray, precision: str = "fp32", wanted: list[np.ndarray] | None = None) -> Parity:
    gate = GATES[precision]
    item = VerificationInput("photo", "photo", np.zeros((1, 3, SIDE, SIDE), np.float32), None)
    found = judge_input(item, wanted or scene(0), [padded(rows)], gate, holds="detections", exact=lambda: None)
    return verdict([found], gate, unresponsive=False)


@pytest.mark.parametrize("precision", GATES)
def test_the_models_own_pass(precision: str) -> None:
    rows = best_of(*scene(0))
    assert len(rows) > 80
    parity = judged(rows, precision)
    assert (parity.status, parity.box_agreement) == ("passed", 1.0)


def test_the_other_of_two_that_score_alike_passes() -> None:
    boxes, scores = scene(0)
    rows = best_of(boxes, scores)
    assert np.array_equal(rows[0, :4], boxes[0])
    rows[0, :4], rows[0, 4] = boxes[1], scores[1, 0]
    assert judged(rows).status == "passed"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weight"])
def test_what_is_wrong_fails(precision: str) -> None:
    rows = best_of(*scene(0))
    changes = {"moved": (slice(0, 10), slice(0, 4), 25.0), "scored": (slice(0, 10), 4, -0.3)}
    for row, column, by in changes.values():
        wrong = rows.copy()
        wrong[row, column] += by
        assert judged(wrong, precision).status == "failed"
    wrong = rows.copy()
    wrong[:, 5] = (wrong[:, 5] + 1) % CLASSES
    assert judged(wrong, precision).status == "failed"
    assert judged(rows[10:], precision).status == "failed"  # the best are missing
    boxes, scores = scene(0)
    twice = np.concatenate([rows[:1], [[*boxes[1], scores[1, 0], 0]], rows[1:]])[:ROWS]
    assert judged(twice, "fp32").status == "failed"  # nothing was suppressed
    assert judged(rows[:0], precision).status == "failed"


@pytest.mark.parametrize("precision", GATES)
def test_all_of_a_few_count_and_each_once(precision: str) -> None:
    boxes = np.array([[10, 10, 60, 60], [200, 200, 300, 300]], np.float64)
    wanted = [boxes, np.array([[0.9, 0, 0], [0, 0.9, 0]])]
    rows = best_of(*wanted)
    assert judged(rows, precision, wanted).status == "passed"
    assert judged(rows[:0], precision, wanted).status == "failed"  # the worst of few is no less than the others
    assert judged(rows[:1], precision, wanted).status == "failed"
    assert judged(np.concatenate([rows, rows]), precision, wanted).status == "failed"  # with equal scores


def test_where_nothing_is_detected_nothing_is_verified() -> None:
    boxes, scores = scene(0)
    parity = judged(np.zeros((0, 6)), wanted=[boxes, 0.01 * scores])
    assert parity.status == "not_verified"
    assert "--images" in str(parity.reason)
    assert judged(best_of(boxes, scores)[:3], wanted=[boxes, 0.01 * scores]).status == "failed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:, :5], "shape"),
        (lambda rows: rows * np.nan, "not finite"),
        (lambda rows: rows + np.array([0, 0, 0, 0, 0, 3]), "none of the 3 classes"),
    ],
)
def test_what_are_no_detections_are_told(change: object, said: str) -> None:
    wanted = [[each[None] for each in scene(0)]]
    rows = padded(best_of(*scene(0)))
    assert misfit(wanted, [rows[None]]) is None
    assert said in str(misfit(wanted, [change(rows)[None]]))  # type: ignore[operator]
