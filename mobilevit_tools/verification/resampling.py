"""Images drawn anew, by which a figure of many images gets an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_IMAGES = 2
"""Fewer say nothing of how much a figure varies."""
RESAMPLES = 1000
_TAILS = (2.5, 97.5)


def draws(images: int) -> NDArray[np.float64]:
    """Return how often each image is drawn in each of many draws, always the same ones (draws, images)."""
    rng = np.random.default_rng(0)
    return rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).astype(np.float64)


def interval_of(figures: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of a figure that each draw has one of (draws,)."""
    low, high = np.percentile(figures, _TAILS)
    return float(low), float(high)
