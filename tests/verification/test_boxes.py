"""Boxes pass where they are the model's, in whatever order, and fail where one is elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.verification.boxes import judge_input, together, verdict
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.tolerances import GATES

SIDE, COUNT, CLASSES = 512, 40, 3
Given = tuple[np.ndarray, np.ndarray]


def scene(seed: int) -> Given:
    """Boxes (COUNT, 4) and scores (COUNT, CLASSES)."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 400, (COUNT, 2))
    return np.concatenate([corners, corners + rng.uniform(8, 100, (COUNT, 2))], 1), rng.random((COUNT, CLASSES)) ** 2


def judged(given: list[Given], precision: str) -> Parity:
    gate, results = GATES[precision], []
    for seed, got in enumerate(given):
        item = VerificationInput(f"photo {seed}", "photo", np.zeros((1, 3, SIDE, SIDE), np.float32), None)
        found = judge_input(item, scene(seed), got, gate, holds="boxes", exact=lambda: None)
        results.append(together([found, found]))
    return verdict(results, gate, unresponsive=False)


@pytest.mark.parametrize("precision", GATES)
def test_the_models_own_pass_in_any_order(precision: str) -> None:
    order = np.random.default_rng(7).permutation(COUNT)
    for turn in (np.arange(COUNT), order):
        parity = judged([tuple(each[turn] for each in scene(seed)) for seed in range(2)], precision)
        assert (parity.status, parity.box_agreement) == ("passed", 1.0)


@pytest.mark.parametrize(
    ("precision", "noise", "status"),
    [
        ("fp32", 1e-3, "passed"),
        ("fp32", 0.1, "failed"),
        ("fp16", 0.2, "passed"),
        ("fp16", 4.0, "failed"),
        ("int8-weight", 2.0, "passed"),
        ("int8-weight", 20.0, "failed"),
        ("int8", 5.0, "passed"),
        ("int8", 60.0, "failed"),
    ],
)
def test_edges_may_be_off_by_as_much_as_the_gate_says(precision: str, noise: float, status: str) -> None:
    rng = np.random.default_rng(1)
    given = [(boxes + rng.uniform(-noise, noise, boxes.shape), scores) for boxes, scores in map(scene, range(2))]
    assert judged(given, precision).status == status


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weight"])
def test_one_box_elsewhere_fails_though_it_moves_no_figure(precision: str) -> None:
    boxes, scores = scene(0)
    best = int(scores.max(1).argmax())
    moved = boxes.copy()
    moved[best] += 30.0
    parity = judged([(moved, scores)], precision)
    assert parity.status == "failed"
    assert "detections" in str(parity.reason)
    assert "photo 0" in str(parity.reason)


def test_scores_count_too() -> None:
    boxes, scores = scene(0)
    for drop, status in ((5e-6, "passed"), (0.3, "failed")):
        changed = scores.copy()
        changed[:, 0] = np.maximum(changed[:, 0] - drop, 0)
        assert judged([(boxes, changed)], "fp32").status == status
    assert judged([(boxes, scores[:, ::-1])], "int8").status == "failed"


def test_each_box_is_matched_once() -> None:
    boxes, scores = scene(0)
    one = np.repeat(boxes[:1], COUNT, 0), np.repeat(scores[:1], COUNT, 0)
    assert judged([one], "int8").status == "failed"


def test_what_is_not_finite_fails() -> None:
    boxes, scores = scene(0)
    broken = boxes.copy()
    broken[3, 2] = np.nan
    parity = judged([(broken, scores)], "fp16")
    assert (parity.status, parity.box_agreement) == ("failed", None)
    assert "non-finite" in str(parity.reason)
