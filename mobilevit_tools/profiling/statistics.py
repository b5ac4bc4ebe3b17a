"""What samples of latency say: percentiles, an interval for the median, and whether two artifacts differ.

Latencies are neither normal nor independent, so nothing here assumes it. The interval for the median consists of two
order statistics whose ranks follow from the binomial distribution (exact for independent samples, whatever their
distribution). Consecutive calls share the machine's mood: where neighbours are correlated beyond chance, the ranks are
moved outwards by the square root of the integrated autocorrelation time (Geyer's initial positive sequence, Statistical
Science 7, 1992), as if there were only that many fewer samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, floor, lgamma, log, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
MIN_SAMPLES_FOR_P99 = 500
LOAD_EFFECT = 0.01
"""By how much the place that a load finds in memory makes an artifact faster or slower until it is loaded anew."""
BLOCK = 5
"""Calls of one artifact in a row when two are measured in turns."""

Verdict = Literal["faster", "slower", "no difference"]


@dataclass(frozen=True)
class LatencySummary:
    """A summary of samples, in milliseconds.

    Attributes:
        p50: The median.
        p90: The 90th percentile, interpolated linearly between samples, as are the others.
        p99: The 99th percentile; None under 500 samples.
        min: The fastest.
        mean: The arithmetic mean.
        std: The sample standard deviation; 0 for a single sample.
        n: The number of samples.
        interval: The 95 % interval for the median; None where there are too few independent samples for one.
    """

    p50: float
    p90: float
    p99: float | None
    min: float
    mean: float
    std: float
    n: int
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """Whether ``b`` differs from ``a``, from samples taken in turns.

    Attributes:
        verdict: What ``b`` is: ``faster`` or ``slower`` than ``a`` when the interval excludes 1, else
            ``no difference`` (that these samples could show).
        ratio: Time of ``b`` over time of ``a``.
        interval: The 95 % interval for the ratio; None where there are too few pairs for one.
        pairs: The number of pairs of loads, each of which gave one ratio.
    """

    verdict: Verdict
    ratio: float
    interval: tuple[float, float] | None
    pairs: int


def summarize(samples_ms: Sequence[float]) -> LatencySummary:
    """Summarise one or more samples, in the order in which they were taken."""
    values = np.asarray(samples_ms, dtype=np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(values, (50, 90, 99)))
    return LatencySummary(
        p50=p50,
        p90=p90,
        p99=p99 if values.size >= MIN_SAMPLES_FOR_P99 else None,
        min=float(values.min()),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if values.size > 1 else 0.0,
        n=int(values.size),
        interval=median_interval(samples_ms),
    )


def compare(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], *, block: int = BLOCK) -> Comparison:
    """Compare samples that were taken in turns, ``block`` calls of ``a``, then ``block`` of ``b``, and so on.

    Each pair of neighbouring blocks gives one ratio of medians, in which whatever slowed both of them cancels out. The
    median of these is the ratio of a pair of loads, and the interval is that of the median over all loads: what a load
    does to an artifact it does to all of its blocks, so that more of them know no more of it.

    Args:
        a: Samples of the first artifact in order, a sequence for each time it was loaded, in whole blocks.
        b: As many of the second.
        block: Calls in a row.

    Raises:
        ValueError: The samples are not equally many whole blocks.
    """
    if not a or [len(samples) for samples in a] != [len(samples) for samples in b]:
        raise ValueError(f"{len(a)} and {len(b)} loads do not have equally many samples")
    if not all(samples and len(samples) % block == 0 for samples in a):
        raise ValueError(f"the samples are not in whole blocks of {block}")
    logs = np.asarray([np.median(np.log(_blocks(y, block) / _blocks(x, block))) for x, y in zip(a, b, strict=True)])
    bounds = median_interval(logs.tolist())
    interval = None if bounds is None else (exp(bounds[0]), exp(bounds[1]))
    verdict: Verdict = "no difference"
    if interval is not None and interval[1] < 1:
        verdict = "faster"
    elif interval is not None and interval[0] > 1:
        verdict = "slower"
    return Comparison(verdict, ratio=exp(float(np.median(logs))), interval=interval, pairs=len(logs))


def _blocks(samples: Sequence[float], block: int) -> NDArray[np.float64]:
    medians: NDArray[np.float64] = np.median(np.reshape(samples, (-1, block)), axis=1)
    return medians


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval for the median of a series, or None where its samples are too few."""
    values = np.asarray(samples, dtype=np.float64)
    n = values.size
    inflation = autocorrelation_time(values)
    rank = _binomial_rank(n, (1 - CONFIDENCE) / 2)
    if rank is None or _binomial_rank(floor(n / inflation), (1 - CONFIDENCE) / 2) is None:
        return None
    middle = (n + 1) / 2
    widened = max(1, floor(middle - (middle - rank) * sqrt(inflation)))
    ordered = np.sort(values)
    return float(ordered[widened - 1]), float(ordered[n - widened])


def autocorrelation_time(values: NDArray[np.float64]) -> float:
    """Return how many samples of a series weigh as much as one independent one, for its median; at least 1."""
    signs = np.sign(values - np.median(values))
    variance = float(signs @ signs)

    def correlation(lag: int) -> float:
        return float(signs[: len(signs) - lag] @ signs[lag:]) / variance

    # Under independence the correlation of neighbours exceeds this once in twenty series; in a short series the
    # estimate is mostly noise.
    if variance == 0 or correlation(1) <= 1.645 / sqrt(len(signs)):
        return 1.0
    total = -1.0
    for lag in range(0, len(signs) - 1, 2):
        pair = correlation(lag) + correlation(lag + 1)
        if pair <= 0:
            break
        total += 2 * pair
    return max(1.0, total)


def _binomial_rank(n: int, tail: float) -> int | None:
    """Return the largest rank k (from 1) with P(B < k) <= ``tail`` for B ~ Binomial(n, 1/2); None where there is none.

    The k-th smallest of n samples exceeds the median with that probability.
    """

    def mass(successes: int) -> float:
        return exp(lgamma(n + 1) - lgamma(successes + 1) - lgamma(n - successes + 1) - n * log(2))

    successes = (n - 1) // 2
    below = 0.5 if n % 2 else 0.5 * (1 - mass(n // 2))
    while successes >= 0 and below > tail:
        below -= mass(successes)
        successes -= 1
    return successes + 1 if successes >= 0 else None
