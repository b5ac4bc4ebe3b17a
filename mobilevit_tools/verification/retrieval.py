"""How often the photos with the nearest embeddings show the same class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 1024
"""Photos whose cosines with all others are in memory at once."""


def rivals(directions: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each photo how many of other classes are as near as the nearest of its own, or nearer.

    With fewer than k rivals, one of its class is among the k nearest, ties going against the embedding. A photo that
    is alone in its class has -1.

    Args:
        directions: Embeddings of length 1 (N, n); a zero vector is near nothing.
        labels: Each photo's class (N,).
    """
    found = np.full(len(labels), -1, np.int64)
    for start in range(0, len(labels), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(labels)))
        cosines = directions[rows] @ directions.T
        same = labels[rows][:, None] == labels[None]
        same[np.arange(len(rows)), rows] = False
        others = labels[rows][:, None] != labels[None]
        nearest = np.where(same, cosines, -np.inf).max(axis=1)
        count = (others & (cosines >= nearest[:, None])).sum(axis=1)
        found[rows] = np.where(same.any(axis=1), count, -1)
    return found
