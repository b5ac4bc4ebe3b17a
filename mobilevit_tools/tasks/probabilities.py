"""Scores of classes as probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SUM_TOLERANCE = 1e-2
"""How far a row's sum may be from 1: half precision rounds each of many small shares."""


def are_probabilities(scores: NDArray[Any]) -> bool:
    """Tell whether every row (classes last) holds shares of 1."""
    import numpy as np

    sums = scores.sum(axis=-1, dtype=np.float64)
    return bool((scores >= 0).all() and (np.abs(sums - 1) <= SUM_TOLERANCE).all())


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the softmax over the last axis, in double precision."""
    import numpy as np

    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
