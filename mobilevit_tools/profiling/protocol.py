"""The latency protocol: warm up until calls are steady, then sample; every sample is kept.

It knows nothing of what it times: ``run`` is any call, and the clock can be replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from types import MappingProxyType

from mobilevit_tools.devices import Settling

Clock = Callable[[], int]
"""Returns nanoseconds that never run backwards."""

DRIFT = 1.05


@dataclass(frozen=True)
class LatencySpec:
    """How long to warm up and how much to sample.

    Attributes:
        warmup_calls: At least so many calls before the steadiness check.
        warmup_seconds: And at least so many seconds of them.
        window: Calls in a window of the steadiness check.
        agreement: Two consecutive windows are steady when their medians differ by no more than this share.
        settle_calls: After so many further calls without agreement the measurement is flagged ``not_steady``.
        settle_seconds: Or after so many further seconds.
        min_runs: Samples to take at least.
        min_seconds: Seconds to sample for at least; sampling ends when both are reached.
    """

    warmup_calls: int = 20
    warmup_seconds: float = 1.0
    window: int = 10
    agreement: float = 0.02
    settle_calls: int = 200
    settle_seconds: float = 30.0
    min_runs: int = 100
    min_seconds: float = 10.0

    @property
    def settling(self) -> Settling:
        """How the warm-up goes on after its least calls and seconds."""
        return Settling(self.window, self.agreement, self.settle_calls, self.settle_seconds)


_DEFAULT = LatencySpec()
RIGORS: Mapping[str, LatencySpec] = MappingProxyType(
    {
        "default": _DEFAULT,
        "quick": replace(_DEFAULT, min_runs=30, min_seconds=2.0),
        "mlperf": replace(_DEFAULT, min_runs=1024, min_seconds=60.0),
    }
)


@dataclass(frozen=True)
class WarmUp:
    """What happened before sampling.

    Attributes:
        first_ms: The very first call.
        calls: All calls of the warm-up, the first included.
        steady: Whether two consecutive windows agreed.
    """

    first_ms: float
    calls: int
    steady: bool


def warm_up(
    run: Callable[[], object],
    spec: LatencySpec,
    *,
    clock: Clock = time.perf_counter_ns,
    after_call: Callable[[], None] = lambda: None,
) -> WarmUp:
    """Call ``run`` until it is steady, or the specification's cap is reached.

    Args:
        run: The call to time.
        spec: The protocol.
        clock: Nanoseconds.
        after_call: Called after every call, outside the time that is measured.
    """
    started = clock()
    times: list[float] = []

    def call() -> None:
        times.append(_timed(run, clock))
        after_call()

    while len(times) < spec.warmup_calls or clock() - started < spec.warmup_seconds * 1e9:
        call()
    settling, before = clock(), len(times)
    while not (steady := spec.settling.is_steady(times)):
        # A whole new window for every check: windows that share calls agree too easily.
        for _ in range(spec.window):
            if len(times) - before >= spec.settle_calls or clock() - settling >= spec.settle_seconds * 1e9:
                return WarmUp(first_ms=times[0], calls=len(times), steady=False)
            call()
    return WarmUp(first_ms=times[0], calls=len(times), steady=steady)


def sample(
    run: Callable[[], object],
    *,
    runs: int,
    seconds: float = 0.0,
    clock: Clock = time.perf_counter_ns,
    after_call: Callable[[], None] = lambda: None,
) -> tuple[float, ...]:
    """Time calls until both ``runs`` and ``seconds`` are reached; return every one of them in milliseconds."""
    started = clock()
    times: list[float] = []
    while len(times) < runs or clock() - started < seconds * 1e9:
        times.append(_timed(run, clock))
        after_call()
    return tuple(times)


def drifts(samples_ms: Sequence[float]) -> bool:
    """Tell whether the median of the last quarter lies more than 5 % above that of the first."""
    quarter = len(samples_ms) // 4
    return quarter > 0 and median(samples_ms[-quarter:]) > DRIFT * median(samples_ms[:quarter])


def _timed(run: Callable[[], object], clock: Clock) -> float:
    started = clock()
    run()
    return (clock() - started) / 1e6
