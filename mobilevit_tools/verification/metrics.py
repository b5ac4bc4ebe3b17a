"""Distances between a reference output and an artifact's, for one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SNR_DB = 300.0
"""Reported for identical outputs, whose signal-to-noise ratio is infinite."""


@dataclass(frozen=True)
class Distance:
    """How far one output is from its reference; a figure is None where it is not a finite number.

    Attributes:
        max_abs_rel: Largest absolute difference over the largest absolute reference value.
        snr_db: Signal-to-noise ratio in dB, the difference being the noise.
        cosine: Cosine of the angle between the two; 0 where the output alone is zero.
        finite: Whether every value of the artifact's output is finite.
    """

    max_abs_rel: float | None
    snr_db: float | None
    cosine: float | None
    finite: bool


NO_DISTANCE = Distance(max_abs_rel=None, snr_db=None, cosine=None, finite=True)
"""Of outputs that are choices, such as classes or detections: no difference of two of them says how far they are."""


def distance(reference: NDArray[Any], output: NDArray[Any], *, logits: bool = False) -> Distance:
    """Compare two arrays of one shape in double precision.

    Of logits, the offset that all classes share says nothing, and a large one would dwarf every difference between
    them: the difference is then held against the reference without its mean, and the angle is that without either's.
    The difference itself is taken whole, so that an artifact which adds an offset is not right.

    Args:
        reference: What is right.
        output: What is compared with it.
        logits: Whether the values are one image's logits; those of a single class have no common offset.

    Raises:
        ValueError: The shapes differ, or the reference itself is not finite.
    """
    if reference.shape != output.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {output.shape}")
    expected = reference.astype(np.float64).ravel()
    got = output.astype(np.float64).ravel()
    if not np.isfinite(expected).all():
        raise ValueError("the reference is not finite")
    if not np.isfinite(got).all():
        return Distance(max_abs_rel=None, snr_db=None, cosine=None, finite=False)
    error = got - expected
    if not error.any():
        return Distance(max_abs_rel=0.0, snr_db=MAX_SNR_DB, cosine=1.0, finite=True)
    if logits and expected.size > 1:
        expected, got = expected - expected.mean(), got - got.mean()
    peak, signal, noise = np.abs(expected).max(), expected @ expected, error @ error
    norms = np.sqrt(signal * (got @ got))
    return Distance(
        max_abs_rel=float(np.abs(error).max() / peak) if peak else None,
        snr_db=min(MAX_SNR_DB, float(10 * np.log10(signal / noise))) if signal else None,
        cosine=float(expected @ got / norms) if norms else (0.0 if signal else None),
        finite=True,
    )


class Spread:
    """How much an output changes from one input to another, seen one input at a time."""

    def __init__(self) -> None:
        self._first: NDArray[np.float64] | None = None
        self._sum: NDArray[np.float64] | float = 0.0
        self._squares = 0.0
        self._count = 0

    def see(self, output: NDArray[Any]) -> None:
        """Take one input's output, of the shape of all others."""
        values = output.astype(np.float64).ravel()
        self._count += 1
        if self._first is None:
            self._first = values
        # Relative to the first, so that a small change of large values does not cancel.
        apart = values - self._first
        self._sum = self._sum + apart
        self._squares += float(apart @ apart)

    def rms(self) -> float:
        """Return the root mean square of the Euclidean distance from the mean output; NaN where one was not finite."""
        total = np.asarray(self._sum)
        squares = self._squares - float((total * total).sum()) / self._count
        return float(np.sqrt(np.maximum(0.0, squares / self._count)))


def worst(distances: Sequence[Distance]) -> Distance:
    """Return each figure's worst value; None where one of them has none."""

    def pick(values: list[float | None], choose: Callable[[list[float]], float]) -> float | None:
        known = [value for value in values if value is not None]
        return choose(known) if len(known) == len(values) else None

    return Distance(
        max_abs_rel=pick([each.max_abs_rel for each in distances], max),
        snr_db=pick([each.snr_db for each in distances], min),
        cosine=pick([each.cosine for each in distances], min),
        finite=all(each.finite for each in distances),
    )
