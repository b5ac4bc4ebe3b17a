"""Whether one artifact is faster, from measurements that were taken of each by itself."""

from __future__ import annotations

from dataclasses import dataclass

from mobilevit_tools.profiling.place import place_of
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.profiling.statistics import LOAD_EFFECT, Verdict


@dataclass(frozen=True)
class LatencyDiff:
    """Two measurements side by side.

    Attributes:
        place_a: Where the first was measured.
        place_b: Where the second was.
        p50_a: The first's median in milliseconds; None where it has none.
        p50_b: The second's.
        interval_a: The 95 % interval of the first's median; None where there is none.
        interval_b: Of the second's.
        instructions_a: Instructions of one inference of the first; None where they were not counted.
        instructions_b: Of the second.
        verdict: What the second is against the first; None where the two cannot be compared.
        reason: Why they cannot, or from what the verdict follows.
        flags: What makes either measurement doubtful.
    """

    place_a: str
    place_b: str
    p50_a: float | None
    p50_b: float | None
    interval_a: tuple[float, float] | None
    interval_b: tuple[float, float] | None
    instructions_a: int | None
    instructions_b: int | None
    verdict: Verdict | None
    reason: str
    flags: tuple[str, ...]


def diff_latency(a: ProfileResult, b: ProfileResult) -> LatencyDiff:
    """Compare two measurements if they are of one place: instructions exactly, latencies by intervals of one load."""
    verdict, reason = _judge(a, b)
    latencies = [None if place_of(each).emulated else each.latency_ms for each in (a, b)]
    (p50_a, interval_a), (p50_b, interval_b) = (
        (None, None) if latency is None else (latency.p50, latency.interval) for latency in latencies
    )
    return LatencyDiff(
        place_a=place_of(a).title,
        place_b=place_of(b).title,
        p50_a=p50_a,
        p50_b=p50_b,
        interval_a=interval_a,
        interval_b=interval_b,
        instructions_a=a.instructions,
        instructions_b=b.instructions,
        verdict=verdict,
        reason=reason,
        flags=tuple(sorted({*a.flags, *b.flags})),
    )


def _judge(a: ProfileResult, b: ProfileResult) -> tuple[Verdict | None, str]:
    if place_of(a) != place_of(b):
        return None, "They were measured on different devices."
    if a.instructions is not None and b.instructions is not None:
        return _order(a.instructions < b.instructions, a.instructions > b.instructions), "Instruction counts are exact."
    if place_of(a).emulated or a.latency_ms is None or b.latency_ms is None:
        return None, "One of them has no latency."
    first, second = a.latency_ms.interval, b.latency_ms.interval
    if first is None or second is None:
        return None, "Too few runs for an interval of the median."
    slower, faster = second[0] / first[1] - 1, first[0] / second[1] - 1
    return _order(slower > LOAD_EFFECT, faster > LOAD_EFFECT), _gap(max(slower, faster))


def _gap(share: float) -> str:
    if share <= 0:
        return "The intervals of the medians overlap."
    doubt = "" if share > LOAD_EFFECT else ", which reloading an artifact can cause"
    return f"The intervals of the medians are {share:.1%} apart{doubt}."


def _order(slower: bool, faster: bool) -> Verdict:
    return "slower" if slower else "faster" if faster else "no difference"
