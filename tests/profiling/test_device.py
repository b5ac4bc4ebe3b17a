"""A measurement on a device, with a stand-in for the device: what is asked of it, and what is made of its answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from mobilevit_tools.devices import Device, Readiness, RunRequest, RunResult
from mobilevit_tools.devices._base import Settling, Timing
from mobilevit_tools.devices.registry import DeviceKind
from mobilevit_tools.errors import GateError, UsageError
from mobilevit_tools.profiling import device, environment
from mobilevit_tools.profiling.device import PILOT_RUNS, ROUNDS, profile_on_device
from mobilevit_tools.profiling.host import latency_spec
from mobilevit_tools.profiling.place import place_of
from mobilevit_tools.runtimes.registry import load_session

Pace = Callable[[Path, int, int], float]
"""The milliseconds of a run, by artifact, by how often it was measured before, and by the run's number."""


class FakeDevice(Device):
    """Computes what this machine computes; how long that took, a function says."""

    name = "fake"
    cpu_seconds: float | None = None

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.requests: list[RunRequest] = []

    def probe(self) -> Readiness:
        return Readiness(self.name, ready=True, detail="Ready.")

    def measure(self, request: RunRequest) -> RunResult:
        turn = sum(each.artifact == request.artifact for each in self.requests)
        self.requests.append(request)
        warmup: list[float] = []
        while len(warmup) < request.warmup or sum(warmup) < request.warmup_s * 1e3:
            warmup.append(self.pace(request.artifact, turn, 0))
        samples: list[float] = []
        total = 0.0
        while len(samples) < request.iterations or total < request.seconds * 1e3:
            samples.append(self.pace(request.artifact, turn, len(samples)))
            total += samples[-1]
        with load_session(request.artifact) as session:
            outputs = session.run(request.inputs)[0]
        return RunResult(
            "Fake (1)",
            outputs,
            Timing(1.0, tuple(warmup), tuple(samples)),
            None,
            None,
            request.threads,
            cpu_seconds=self.cpu_seconds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """The device that is opened, whatever its name: each run takes 100 ms."""
    made = FakeDevice(lambda *_: 100.0)
    monkeypatch.setattr(device, "open_device", lambda _: made)
    monkeypatch.setattr(device, "find_kind", lambda _: DeviceKind("none", "fake", "a stand-in"))
    return made


@pytest.fixture
def other(model: Path) -> Path:
    copy = model.with_name("other.onnx")
    copy.write_bytes(model.read_bytes())
    return copy


def test_the_times_of_a_device_that_is_this_machine_are_of_this_machine(
    fake: FakeDevice, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert profile_on_device("fake", [model], rigor="quick")[0].host is None
    monkeypatch.setattr(FakeDevice, "is_this_machine", True)
    (slow,) = profile_on_device("fake", [model], rigor="quick")
    assert slow.host is not None
    assert (slow.host.cores, slow.host.cpu) == (os.cpu_count(), environment.cpu_name())
    assert "mobilevit-tools" in slow.host.versions
    monkeypatch.setattr(environment, "cpu_name", lambda: "A fast one")
    (fast,) = profile_on_device("fake", [model], rigor="quick")
    assert place_of(slow) != place_of(fast)


@pytest.mark.parametrize(("own", "busy"), [(9.0, False), (3.0, True), (None, False)])
def test_others_on_the_machine_are_told_from_the_measurement_itself(
    fake: FakeDevice, model: Path, other: Path, monkeypatch: pytest.MonkeyPatch, own: float | None, busy: bool
) -> None:
    seconds = iter([100.0, 100.0 + 2 * ROUNDS * 9.0])  # while both artifacts take their turns
    clock = iter([0.0, 2 * ROUNDS * 10.0])
    monkeypatch.setattr(FakeDevice, "is_this_machine", True)
    monkeypatch.setattr(fake, "cpu_seconds", own)
    monkeypatch.setattr(environment, "busy_seconds", lambda: next(seconds, 280.0))
    monkeypatch.setattr(environment.time, "perf_counter", lambda: next(clock, 200.0))
    monkeypatch.setattr(environment, "load_average", lambda: 0.0)
    monkeypatch.setattr(environment.os, "cpu_count", lambda: 4)
    results = profile_on_device("fake", [model, other], rigor="quick")
    assert [result.flags for result in results] == [("busy_host",) if busy else ()] * 2


def test_core_ml_takes_no_thread_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "model.mlpackage"
    package.mkdir()
    monkeypatch.setattr(device, "open_session", lambda *_, **__: pytest.fail("it computed"))
    with pytest.raises(UsageError, match="manages its own threads"):
        profile_on_device("ssh:me@mac", [package], threads=2)


@pytest.mark.parametrize(("milliseconds", "rigor"), [(100.0, "quick"), (2000.0, "mlperf"), (9000.0, "quick")])
def test_a_slow_artifact_gets_the_time_that_its_runs_take(
    fake: FakeDevice, model: Path, milliseconds: float, rigor: str
) -> None:
    fake.pace = lambda *_: milliseconds
    (result,) = profile_on_device("fake", [model], rigor=rigor)
    pilot, plan = fake.requests
    assert (pilot.iterations, plan.iterations) == (PILOT_RUNS, len(result.samples_ms))
    assert len(result.samples_ms) >= latency_spec(rigor).min_runs
    assert plan.timeout_s >= max(600, 2 * milliseconds / 1e3 * (plan.warmup + plan.iterations))
    assert plan.timeout_s < max(601, 6 * milliseconds / 1e3 * (plan.warmup + plan.iterations))


def test_an_emulator_gets_the_time_that_emulation_takes(
    fake: FakeDevice, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeDevice, "emulated", True)
    profile_on_device("fake", [model])
    assert [request.timeout_s for request in fake.requests] == [3600]


def test_a_fast_artifact_gets_the_runs_that_its_seconds_take(fake: FakeDevice, model: Path) -> None:
    fake.pace = lambda *_: 0.05
    (result,) = profile_on_device("fake", [model])
    assert sum(result.samples_ms) >= 0.999 * latency_spec("default").min_seconds * 1e3


def test_the_device_is_asked_for_the_protocols_own_warm_up_and_seconds(fake: FakeDevice, model: Path) -> None:
    paces = iter([1.0] * 30)  # the pilot is no measure of how fast the artifact will be
    fake.pace = lambda *_: next(paces, 0.1)
    (result,) = profile_on_device("fake", [model], rigor="mlperf")
    spec, (_, plan) = latency_spec("mlperf"), fake.requests
    assert (plan.warmup, plan.warmup_s) == (spec.warmup_calls, spec.warmup_seconds)
    assert plan.settling == Settling(spec.window, spec.agreement, spec.settle_calls, spec.settle_seconds)
    assert (plan.iterations, plan.seconds) == (spec.min_runs, spec.min_seconds)
    assert sum(result.samples_ms) >= 0.999 * spec.min_seconds * 1e3


def test_a_warm_up_that_reached_its_cap_is_flagged(fake: FakeDevice, model: Path) -> None:
    steps = iter(range(10**9))
    fake.pace = lambda *_: 100.0 + next(steps) % 37
    (result,) = profile_on_device("fake", [model], rigor="quick")
    assert "not_steady" in result.flags


def test_a_comparison_gives_both_equally_many_runs_and_together_the_seconds_of_two(
    fake: FakeDevice, model: Path, other: Path
) -> None:
    fake.pace = lambda artifact, *_: 40.0 if artifact == model else 0.1
    slow, fast = profile_on_device("fake", [model, other])
    spec = latency_spec("default")
    assert len(slow.samples_ms) == len(fast.samples_ms) >= spec.min_runs
    seconds = sum(slow.samples_ms + fast.samples_ms) / 1e3
    assert 2 * spec.min_seconds <= seconds < 2 * spec.min_seconds + 1


def test_a_device_that_gets_slower_from_turn_to_turn_drifts(fake: FakeDevice, model: Path, other: Path) -> None:
    fake.pace = lambda _, turn, __: 100.0 * 1.02**turn
    assert [result.flags for result in profile_on_device("fake", [model, other], rigor="quick")] == [("drift",)] * 2


def test_turns_that_each_begin_fast_are_no_drift(fake: FakeDevice, model: Path, other: Path) -> None:
    fake.pace = lambda _, __, number: 100.0 if number < 2 else 106.0
    results = profile_on_device("fake", [model, other])
    assert [result.flags for result in results] == [()] * 2


@pytest.mark.parametrize("wrong", [0, 1, ROUNDS])
def test_the_outputs_of_every_turn_are_checked(
    fake: FakeDevice, model: Path, other: Path, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    honest = fake.measure

    def measure(request: RunRequest) -> RunResult:
        turn = sum(each.artifact == request.artifact for each in fake.requests)
        result = honest(request)
        return replace(result, outputs=1.01 * result.outputs) if turn == wrong else result

    monkeypatch.setattr(fake, "measure", measure)
    with pytest.raises(GateError, match=r"small\.onnx returns different outputs on fake"):
        profile_on_device("fake", [model, other], rigor="quick")
