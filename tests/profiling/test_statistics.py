"""Summaries, the interval for the median and the comparison, against enumeration and seeded simulation."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from mobilevit_tools.profiling.statistics import (
    BLOCK,
    autocorrelation_time,
    compare,
    median_interval,
    summarize,
)


def test_a_summary_of_known_samples() -> None:
    summary = summarize([float(value) for value in range(11)])
    assert (summary.p50, summary.p90, summary.min, summary.mean, summary.n) == (5.0, 9.0, 0.0, 5.0, 11)
    assert summary.std == pytest.approx(11**0.5)  # sum of squares 110 over ten
    assert summarize([3.0]).std == 0.0


def test_p99_needs_five_hundred_samples() -> None:
    samples = [float(value) for value in range(500)]
    assert summarize(samples[:499]).p99 is None
    assert summarize(samples).p99 == pytest.approx(0.99 * 499)


def shuffled(n: int) -> list[float]:
    """0 to n - 1 in an order without correlation of neighbours."""
    for seed in range(100):
        values = np.random.default_rng(seed).permutation(n).astype(np.float64)
        if autocorrelation_time(values) == 1.0:
            return [float(value) for value in values]
    raise AssertionError(n)


@pytest.mark.parametrize("n", [6, 7, 9, 10, 15, 25, 100, 101])
def test_interval_ranks_are_the_narrowest_with_the_coverage(n: int) -> None:
    def coverage(rank: int) -> float:
        return 1 - 2 * sum(comb(n, k) for k in range(rank)) / 2**n

    low, high = median_interval(shuffled(n)) or (None, None)
    assert low is not None
    assert high is not None
    assert low + high == n - 1  # the same rank from both ends
    assert coverage(int(low) + 1) >= 0.95 > coverage(int(low) + 2)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_under_six_samples_there_is_no_interval(n: int) -> None:
    assert median_interval(shuffled(n)) is None


def test_interval_of_six_is_exact_by_enumeration() -> None:
    # Each of six independent samples falls below or above the median with equal chance.
    caught = [0 < sum(below) < 6 for below in product([0, 1], repeat=6)]
    assert sum(caught) / len(caught) == pytest.approx(1 - 2 / 64)
    assert median_interval([3.0, 1.0, 6.0, 2.0, 5.0, 4.0]) == (1.0, 6.0)


def test_a_million_samples_have_an_interval() -> None:
    values = np.random.default_rng(0).permutation(1_000_001).astype(np.float64)
    low, high = median_interval(values.tolist()) or (0.0, 0.0)
    assert high - low == pytest.approx(1.96 * 1000, rel=0.02)


def autoregressive(random: np.random.Generator, n: int, memory: float) -> NDArray[np.float64]:
    noise = random.standard_normal(n + 100)
    series = np.empty_like(noise)
    level = 0.0
    for index, step in enumerate(noise):
        level = memory * level + step
        series[index] = level
    return series[100:]


def coverage(kind: str, n: int, repeats: int = 300) -> float:
    random = np.random.default_rng(7)
    hits = given = 0
    for _ in range(repeats):
        if kind == "heavy tail":
            values, median = random.standard_cauchy(n) + 3, 3.0
        elif kind == "skewed":
            values, median = random.lognormal(0, 1, n), 1.0
        else:
            values, median = autoregressive(random, n, 0.8), 0.0
        if interval := median_interval(values.tolist()):
            given += 1
            hits += interval[0] <= median <= interval[1]
    assert given > 0.95 * repeats
    return hits / given


@pytest.mark.parametrize(("kind", "n"), [("heavy tail", 30), ("skewed", 8), ("skewed", 100), ("correlated", 400)])
def test_intervals_hold_the_median_in_95_of_100_series(kind: str, n: int) -> None:
    # Three standard errors of the simulation below 95 %; an interval that took correlated samples for independent
    # ones would hold it in about 60 of 100.
    assert coverage(kind, n) >= 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5


def test_autocorrelation_time_of_a_known_process() -> None:
    random = np.random.default_rng(3)
    assert autocorrelation_time(random.standard_normal(4000)) < 1.3
    # The signs of a Gaussian series with correlations r^k are correlated by (2 / pi) asin(r^k).
    expected = 1 + 2 * sum(2 / np.pi * np.arcsin(0.8**k) for k in range(1, 60))
    assert autocorrelation_time(autoregressive(random, 40_000, 0.8)) == pytest.approx(expected, rel=0.2)
    assert autocorrelation_time(np.ones(100)) == 1.0


Loads = list[list[float]]


def interleaved(
    ratio: float, seed: int, *, loads: int = 10, blocks: int = 20, by_load: float = 0.003
) -> tuple[Loads, Loads]:
    """Samples of two artifacts on a machine whose mood swings by tens of percent and hits both alike.

    Each load makes either of them a little faster or slower for as long as it lasts.
    """
    random = np.random.default_rng(seed)
    mood = np.exp(0.15 * autoregressive(random, 2 * loads * blocks, 0.9)).reshape(loads, blocks, 2, 1)
    place = random.lognormal(0, by_load, (loads, 1, 2, 1))
    noise = random.lognormal(0, 0.02, (loads, blocks, 2, BLOCK))
    times = 10 * mood * place * noise * np.array([1.0, ratio]).reshape(1, 1, 2, 1)
    return times[:, :, 0].reshape(loads, -1).tolist(), times[:, :, 1].reshape(loads, -1).tolist()


def verdicts(ratio: float, repeats: int = 200, **options: float) -> list[str]:
    return [compare(*interleaved(ratio, seed, **options)).verdict for seed in range(repeats)]


# Where blocks counted as independent, the second would be called different in a quarter of its comparisons.
@pytest.mark.parametrize("options", [{}, {"blocks": 200, "by_load": 0.006}, {"blocks": 1}, {"loads": 6}])
def test_equal_artifacts_differ_in_at_most_a_few_of_a_hundred_comparisons(options: dict[str, float]) -> None:
    assert verdicts(1.0, **options).count("no difference") >= 184


def test_a_real_difference_is_found_with_its_sign() -> None:
    assert set(verdicts(0.7)) <= {"faster", "no difference"}
    assert verdicts(0.7).count("faster") >= 190
    assert verdicts(1.4).count("slower") >= 190


def test_the_ratio_is_that_of_b_over_a() -> None:
    a, b = interleaved(1.25, seed=0, loads=30)
    result = compare(a, b)
    assert result.pairs == 30
    assert result.interval is not None
    assert result.interval[0] < 1.25 < result.interval[1]
    assert result.interval[0] <= result.ratio <= result.interval[1]
    swapped = compare(b, a)
    assert swapped.verdict == "faster"
    assert swapped.ratio == pytest.approx(1 / result.ratio)


def test_pairing_cancels_what_slows_both() -> None:
    # The machine gets three times slower halfway; only neighbours in time tell the 10 % between the two.
    mood = np.repeat([1.0, 3.0], 50).reshape(10, 10)
    random = np.random.default_rng(0)
    a = mood * random.lognormal(0, 0.01, (10, 10))
    b = 1.1 * mood * random.lognormal(0, 0.01, (10, 10))
    result = compare(a.tolist(), b.tolist())
    assert result.verdict == "slower"
    assert result.ratio == pytest.approx(1.1, rel=0.01)


def test_too_few_pairs_show_no_difference() -> None:
    result = compare([[1.0] * 9 * BLOCK] * 3, [[2.0] * 9 * BLOCK] * 3)
    assert (result.verdict, result.interval, result.ratio) == ("no difference", None, pytest.approx(2.0))


@pytest.mark.parametrize(("a", "b"), [([10], [5]), ([7], [7]), ([0], [0]), ([], []), ([5, 5], [5]), ([5, 10], [10, 5])])
def test_samples_that_are_no_whole_pairs_are_refused(a: list[int], b: list[int]) -> None:
    with pytest.raises(ValueError, match=r"whole blocks|equally many"):
        compare([[1.0] * count for count in a], [[1.0] * count for count in b])
