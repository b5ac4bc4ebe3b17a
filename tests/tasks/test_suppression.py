"""Of boxes that overlap, the best of each class is kept."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.tasks.suppression import overlaps, suppress


def plain(boxes: np.ndarray, scores: np.ndarray, least: float, most_overlap: float) -> set[tuple[int, int]]:
    """Suppress one pair of a box and a class after the other, as it is written in every textbook."""
    kept: list[tuple[int, int]] = []
    for place, kind in sorted(np.ndindex(*scores.shape), key=lambda pair: -scores[pair]):
        others = [boxes[other] for other, same in kept if same == kind]
        if scores[place, kind] > least and all(one_overlap(boxes[place], other) <= most_overlap for other in others):
            kept.append((place, kind))
    return set(kept)


def one_overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union


@pytest.mark.parametrize(("least", "most_overlap"), [(0.05, 0.5), (0.3, 0.3), (0.0, 0.6)])
def test_it_keeps_what_the_plain_loop_keeps(least: float, most_overlap: float) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (60, 2))], 1)
    scores = rng.random((60, 3)) ** 3
    kept = suppress(boxes, scores, least_score=least, most_overlap=most_overlap, most=1000)
    wanted = plain(boxes, scores, least, most_overlap)
    assert 3 < len(wanted) < scores.size
    assert set(zip(kept.boxes.tolist(), kept.classes.tolist(), strict=True)) == wanted
    assert (np.diff(kept.scores) <= 0).all()
    assert np.array_equal(kept.scores, scores[kept.boxes, kept.classes])
    first = suppress(boxes, scores, least_score=least, most_overlap=most_overlap, most=3)
    assert np.array_equal(first.boxes, kept.boxes[:3])


def test_boxes_without_area_overlap_nothing() -> None:
    empty, turned = np.array([5.0, 5, 5, 9]), np.array([9.0, 5, 3, 9])
    for box in (empty, turned):
        assert overlaps(box, np.array([0.0, 0, 10, 10])) == 0
        assert overlaps(box, box) == 0
    assert len(suppress(np.zeros((0, 4)), np.zeros((0, 2))).boxes) == 0
    assert overlaps(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2])) == pytest.approx(1 / 3)
