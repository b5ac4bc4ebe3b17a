"""How often predictions are right, how sure that is, and what is mistaken for what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE_Z = 1.959964
"""Normal quantile of a 95 % interval."""
TOP_K = 5
SURE_Z = 2.575829
"""Normal quantile of 1 % on both sides: how sure a choice between labels must be that predictions make."""


@dataclass(frozen=True)
class Confusion:
    """One mistake that was made repeatedly.

    Attributes:
        truth: The class's name.
        predicted: The name of the class that it was taken for.
        count: How often.
    """

    truth: str
    predicted: str
    count: int


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson, 1927), which stays within 0 and 1.

    Raises:
        ValueError: There were no trials.
    """
    if trials < 1:
        raise ValueError("a proportion needs at least one trial")
    share, z = successes / trials, CONFIDENCE_Z
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def is_in_top(logits: NDArray[Any], labels: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Tell for each row of ``logits`` (N, classes) whether its label is among the ``k`` largest.

    Ties go against the model, so that a constant output is never right; neither is a row that is not finite.
    """
    truth = np.take_along_axis(logits, labels[:, None], axis=1)
    rivals = (logits >= truth).sum(axis=1) - 1
    return np.asarray((rivals < k) & np.isfinite(logits).all(axis=1))


def clearly_best(right: Sequence[NDArray[np.bool_]]) -> int | None:
    """Return which of several labellings of the same photos the predictions confirm; None where chance could.

    Against every other one, a sign test over the photos on which the two differ must be sure of it.

    Args:
        right: For each labelling, whether each photo's prediction is right by it.
    """
    best = max(range(len(right)), key=lambda index: int(right[index].sum()))
    for index, other in enumerate(right):
        won, lost = int((right[best] & ~other).sum()), int((other & ~right[best]).sum())
        if index != best and won - lost < SURE_Z * math.sqrt(max(1, won + lost)):
            return None
    return best


def confusions(predicted: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str]) -> tuple[Confusion, ...]:
    """Count mistakes by the ``names`` of the true and the predicted class, the most frequent first."""
    wrong = Counter((int(t), int(p)) for t, p in zip(labels, predicted, strict=True) if t != p)
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(names[truth], names[guess], count) for (truth, guess), count in ordered)
