"""How well class maps are right: the intersection over union of each class, and how sure their mean is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilevit_tools.verification.resampling import LEAST_IMAGES, draws, interval_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

IGNORED = 255
"""What masks have where nobody says what is there; such pixels count nowhere."""


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of one or several images, by class (classes,).

    Attributes:
        both: Pixels that are of the class and were said to be.
        truth: Pixels that are of the class.
        said: Pixels that were said to be of it.
    """

    both: NDArray[np.int64]
    truth: NDArray[np.int64]
    said: NDArray[np.int64]


def count_pixels(truth: NDArray[np.integer], said: NDArray[np.integer], classes: int) -> PixelCounts:
    """Count one image's pixels; those whose truth is :data:`IGNORED` are left out.

    Args:
        truth: The right class of each pixel (H, W), below ``classes`` or ignored.
        said: The class that an artifact says (H, W), below ``classes``.
        classes: How many there are.
    """
    known = truth != IGNORED
    right, given = truth[known].astype(np.int64), said[known].astype(np.int64)

    def counted(values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(values, minlength=classes)

    return PixelCounts(counted(right[right == given]), counted(right), counted(given))


def ious(both: NDArray[np.number], truth: NDArray[np.number], said: NDArray[np.number]) -> NDArray[np.float64]:
    """Return each class's intersection over union (..., classes); NaN for one that is nowhere and was said nowhere."""
    union = (truth + said - both).astype(np.float64)
    return np.asarray(np.where(union > 0, both / np.where(union > 0, union, 1.0), np.nan))


def mean_iou(both: NDArray[np.number], truth: NDArray[np.number], said: NDArray[np.number]) -> NDArray[np.float64]:
    """Return the mean (...) over the classes that have one; 0 where none has."""
    each = ious(both, truth, said)
    present = ~np.isnan(each)
    return np.asarray(np.where(present, each, 0.0).sum(-1) / np.maximum(present.sum(-1), 1))


def bootstrap_interval(images: list[PixelCounts]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean IoU over images drawn anew, always the same way; None of a single image.

    Pixels of one image are alike, so that an interval over pixels would be far too narrow.
    """
    if len(images) < LEAST_IMAGES:
        return None
    drawn = draws(len(images))
    both, truth, said = (
        drawn @ np.stack([getattr(each, name) for each in images]).astype(np.float64)
        for name in ("both", "truth", "said")
    )
    return interval_of(mean_iou(both, truth, said))
