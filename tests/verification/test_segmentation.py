"""Mean intersection over union, against a confusion matrix that is counted pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.verification.segmentation import (
    IGNORED,
    bootstrap_interval,
    count_pixels,
    ious,
    mean_iou,
)

CLASSES = 5
TORCHMETRICS = 0.5413858294487
"""What MulticlassJaccardIndex(5, average="macro", ignore_index=255) of torchmetrics 1.9.0 gives for images(4)."""


def images(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truths with ignored pixels, and answers that are right at about two of three pixels; class 4 is nowhere."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        truth = rng.integers(0, CLASSES - 1, (16, 24))
        said = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, CLASSES - 1, truth.shape))
        truth[rng.random(truth.shape) < 0.1] = IGNORED
        made.append((truth.astype(np.uint8), said))
    return made


def by_hand(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    matrix = [[0] * CLASSES for _ in range(CLASSES)]
    for truth, said in pairs:
        for right, given in zip(truth.ravel().tolist(), said.ravel().tolist(), strict=True):
            if right != IGNORED:
                matrix[right][given] += 1
    found = []
    for index in range(CLASSES):
        union = sum(matrix[index]) + sum(row[index] for row in matrix) - matrix[index][index]
        if union:
            found.append(matrix[index][index] / union)
    return sum(found) / len(found)


def test_it_is_what_a_confusion_matrix_gives() -> None:
    pairs = images(4)
    counts = [count_pixels(truth, said, CLASSES) for truth, said in pairs]
    both, truth, said = (np.sum([getattr(each, name) for each in counts], axis=0) for name in ("both", "truth", "said"))
    assert float(mean_iou(both, truth, said)) == pytest.approx(by_hand(pairs), abs=1e-12)
    assert by_hand(pairs) == pytest.approx(TORCHMETRICS, abs=1e-6)
    assert np.isnan(ious(both, truth, said)[4])
    assert not np.isnan(ious(both, truth, said)[:4]).any()


def test_ignored_pixels_count_nowhere() -> None:
    truth = np.array([[0, IGNORED, 1]], np.uint8)
    for hidden in range(2):
        counts = count_pixels(truth, np.array([[0, hidden, 1]]), 2)
        assert (counts.both.tolist(), counts.truth.tolist(), counts.said.tolist()) == ([1, 1], [1, 1], [1, 1])


def test_the_interval_is_over_images() -> None:
    few = [count_pixels(*pair, CLASSES) for pair in images(8)]
    many = [count_pixels(*pair, CLASSES) for pair in images(128)]
    narrow, wide = bootstrap_interval(many), bootstrap_interval(few)
    assert narrow is not None
    assert wide is not None
    assert narrow[0] < by_hand(images(128)) < narrow[1]
    assert 2 < (wide[1] - wide[0]) / (narrow[1] - narrow[0]) < 8  # a quarter is expected of 16 times as many
    assert bootstrap_interval(many) == narrow
    assert bootstrap_interval(few[:1]) is None
    right, wrong = (count_pixels(np.zeros((2, 2), np.uint8), np.full((2, 2), said), 2) for said in (0, 1))
    assert bootstrap_interval([right, right]) == (1.0, 1.0)
    low, high = bootstrap_interval([right] * 5 + [wrong] * 5) or (1, 0)
    assert low < 0.3 < 0.7 < high * 2
