from __future__ import annotations

from dataclasses import replace

import pytest

from mobilevit_tools.comparison.latency import diff_latency
from tests.reporting.conftest import HOST, profile

FAST = [1.0 + 0.001 * (number % 7) for number in range(40)]
SLOW = [1.1 * sample for sample in FAST]


@pytest.mark.parametrize(("a", "b", "verdict"), [(FAST, SLOW, "slower"), (SLOW, FAST, "faster")])
def test_intervals_that_do_not_overlap_decide(a: list[float], b: list[float], verdict: str) -> None:
    found = diff_latency(profile("a", samples=a), profile("b", samples=b))
    assert (found.verdict, found.reason) == (verdict, "The intervals of the medians are 9.7% apart.")
    assert found.p50_a == pytest.approx(sorted(a)[20], rel=1e-3)


def test_intervals_that_overlap_decide_nothing() -> None:
    wide = [1.0 + 0.01 * (number % 20) for number in range(40)]
    found = diff_latency(profile("a", samples=wide), profile("b", samples=[1.005 * sample for sample in wide]))
    assert found.p50_a is not None
    assert found.p50_b is not None
    assert found.p50_b > found.p50_a
    assert (found.verdict, found.reason) == ("no difference", "The intervals of the medians overlap.")


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.012, "no difference"), (1 / 1.012, "no difference"), (1.02, "slower")]
)
def test_what_a_load_can_make_decides_nothing(ratio: float, verdict: str) -> None:
    found = diff_latency(profile("a", samples=FAST), profile("b", samples=[ratio * sample for sample in FAST]))
    assert found.verdict == verdict
    assert found.reason.endswith("apart, which reloading an artifact can cause." if verdict != "slower" else "apart.")


def test_nothing_is_said_across_places() -> None:
    for other in (profile("b", samples=SLOW, host=replace(HOST, cpu="x")), replace(profile("b"), threads=2)):
        found = diff_latency(profile("a", samples=FAST), other)
        assert (found.verdict, found.reason) == (None, "They were measured on different devices.")


def test_nothing_is_said_without_an_interval() -> None:
    found = diff_latency(profile("a", samples=[1.0, 1.1]), profile("b", samples=SLOW))
    assert (found.verdict, found.reason) == (None, "Too few runs for an interval of the median.")


def test_instructions_are_exact() -> None:
    a, b = (profile("x", device="count", host=None, samples=(), instructions=count) for count in (1000, 999))
    assert diff_latency(a, b).verdict == "faster"
    assert diff_latency(b, a).verdict == "slower"
    assert diff_latency(a, a).verdict == "no difference"


def test_an_emulated_device_has_no_latency_to_compare() -> None:
    a, b = (profile("x", device="arm64:max", host=None, samples=samples) for samples in (FAST, SLOW))
    found = diff_latency(a, b)
    assert (found.verdict, found.p50_a, found.interval_b) == (None, None, None)


def test_flags_of_either_are_shown() -> None:
    found = diff_latency(replace(profile("a"), flags=("drift",)), replace(profile("b"), flags=("busy_host", "drift")))
    assert found.flags == ("busy_host", "drift")
