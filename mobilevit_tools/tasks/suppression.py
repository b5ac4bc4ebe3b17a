"""Boxes in NumPy: how far they overlap, and which of many stand for one thing (greedy non-maximum suppression).

A box is left, top, right, bottom, in pixels, whose right and bottom lie behind the last of its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SCORE = 0.05
"""What a box must score to be measured, as COCO's detectors do; people are shown fewer."""
MOST_OVERLAP = 0.5
"""Of intersection over union: boxes of one class that overlap more are of one thing."""
MOST_DETECTIONS = 100
"""How many a photo may have; COCO counts no more."""
MOST_CANDIDATES = 5000
"""How many pairs of a box and a class are looked at, those of the best scores."""


@dataclass(frozen=True)
class Kept:
    """What is left of many boxes, the best score first.

    Attributes:
        boxes: Places of the boxes (K,).
        classes: Their classes (K,).
        scores: Their scores (K,).
    """

    boxes: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]


def areas(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the areas (...) of boxes (..., 4); 0 of one whose sides are the wrong way round."""
    sides = np.maximum(boxes[..., 2:].astype(np.float64) - boxes[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def overlaps(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the intersection over union (...) of boxes (..., 4), pair by pair; 0 where both are empty."""
    corners = np.concatenate(
        [np.maximum(ours[..., :2], theirs[..., :2]), np.minimum(ours[..., 2:], theirs[..., 2:])], -1
    )
    both = areas(corners)
    union = areas(ours) + areas(theirs) - both
    return np.asarray(np.where(union > 0, both / np.where(union > 0, union, 1.0), 0.0))


def suppress(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    least_score: float = LEAST_SCORE,
    most_overlap: float = MOST_OVERLAP,
    most: int = MOST_DETECTIONS,
) -> Kept:
    """Keep the best box of each thing, class by class; of equal scores the one of the lower place, then class.

    Args:
        boxes: Boxes (N, 4).
        scores: How sure each is of each class (N, classes).
        least_score: Scores that are not above it are no detections.
        most_overlap: Boxes of a class that overlap a better one by more are dropped.
        most: How many to keep.
    """
    flat = scores.astype(np.float64).ravel()
    candidates = np.flatnonzero(flat > least_score)
    ranked = candidates[np.argsort(-flat[candidates], kind="stable")][:MOST_CANDIDATES]
    places, classes = ranked // scores.shape[1], ranked % scores.shape[1]
    found = boxes[places].astype(np.float64)
    alive, kept = np.ones(len(ranked), bool), []
    for index in range(len(ranked)):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == most:
            break
        rest = np.flatnonzero(alive & (classes == classes[index]))
        rest = rest[rest > index]
        alive[rest[overlaps(found[index][None], found[rest]) > most_overlap]] = False
    chosen = np.asarray(kept, np.int64)
    return Kept(places[chosen], classes[chosen], flat[ranked[chosen]])
