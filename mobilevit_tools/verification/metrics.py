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


def distance(reference: NDArray[Any], output: NDArray[Any]) -> Distance:
    """Compare two arrays of one shape in double precision.

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
    peak, signal, noise = np.abs(expected).max(), expected @ expected, error @ error
    norms = np.sqrt(signal * (got @ got))
    if noise == 0:
        return Distance(max_abs_rel=0.0, snr_db=MAX_SNR_DB, cosine=1.0, finite=True)
    return Distance(
        max_abs_rel=float(np.abs(error).max() / peak) if peak else None,
        snr_db=min(MAX_SNR_DB, float(10 * np.log10(signal / noise))) if signal else None,
        cosine=float(expected @ got / norms) if norms else (0.0 if signal else None),
        finite=True,
    )


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


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the softmax over the last axis, in double precision."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
