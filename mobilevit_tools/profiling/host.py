"""Measure artifacts on this machine, each in a child process of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

from mobilevit_tools.artifacts.files import artifact_files
from mobilevit_tools.errors import UsageError
from mobilevit_tools.profiling.environment import HostInfo, LoadMeter, is_busy
from mobilevit_tools.profiling.process import PATIENCE_SECONDS, MeasuringProcess
from mobilevit_tools.profiling.protocol import RIGORS, LatencySpec, drifts
from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
from mobilevit_tools.profiling.statistics import BLOCK, compare, summarize
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.runtimes.registry import check_threads
from mobilevit_tools.targets.registry import target_of

DEVICE = "host"
LOADS = 10
"""How often both artifacts are loaded in a comparison: blocks of one load, however many, cannot know its
`LOAD_EFFECT`."""
RELOAD_SECONDS = 0.1
"""How long an artifact is called before it counts again after a further load: hundreds of calls that take a fraction of
a millisecond, a single one that takes a second."""
_CORES_TOLERANCE = 0.1


def profile_on_host(
    artifact: Path,
    *,
    threads: int = 1,
    rigor: str = "default",
    params: int | None = None,
    macs: int | None = None,
    patience_s: float = PATIENCE_SECONDS,
    progress: Progress = silent,
) -> ProfileResult:
    """Measure one artifact on this machine by the latency protocol.

    Args:
        artifact: Its path.
        threads: Threads of one inference.
        rigor: A preset of the protocol, one of ``RIGORS``.
        params: The model's parameters, to be passed on.
        macs: The model's multiply-accumulates, to be passed on.
        patience_s: How long loading, or a single inference, may take before the artifact counts as hung.
        progress: Told of every step.

    Raises:
        BadInputError: The artifact is missing, cannot be loaded, or takes inputs that cannot be made up.
        UsageError: There is no such preset, or no latency to be had for this artifact on this machine.
        DeviceError: The artifact crashed, failed or hung.
    """
    spec = latency_spec(rigor)
    with ExitStack() as stack:
        subject = load_subject(stack, artifact, threads, patience_s, progress)
        subject.warm_up(spec, progress)
        meter = LoadMeter()
        with progress(f"Measuring {artifact.name}"):
            subject.sample(spec.min_runs, spec.min_seconds)
        host = meter.host_info(subject.own_seconds, subject.versions)
    return subject.result(host, rigor, params, macs)


def compare_on_host(
    a: Path,
    b: Path,
    *,
    threads: int = 1,
    rigor: str = "default",
    patience_s: float = PATIENCE_SECONDS,
    progress: Progress = silent,
) -> ComparisonResult:
    """Measure two artifacts in turns, A B A B, both loaded anew ``LOADS`` times; see :func:`profile_on_host`."""
    spec = latency_spec(rigor)
    with ExitStack() as stack:
        subjects = [load_subject(stack, path, threads, patience_s, progress) for path in (a, b)]
        for subject in subjects:
            subject.warm_up(spec, progress)
        meter = LoadMeter()
        with progress(f"Measuring {a.name} and {b.name} in turns"):
            calls = [_take_turns(subjects, spec)]
            for _ in range(LOADS - 1):
                for subject in subjects:
                    subject.load_again()
                calls.append(_take_turns(subjects, spec))
        own_seconds = sum(subject.own_seconds for subject in subjects)
        hosts = [meter.host_info(own_seconds, subject.versions) for subject in subjects]
    result_a, result_b = (
        subject.result(host, rigor, None, None) for subject, host in zip(subjects, hosts, strict=True)
    )
    loads_a, loads_b = (_by_load(result.samples_ms, calls) for result in (result_a, result_b))
    return ComparisonResult(a=result_a, b=result_b, comparison=compare(loads_a, loads_b))


def _by_load(samples: Sequence[float], calls: Sequence[int]) -> list[Sequence[float]]:
    ends = list(accumulate(calls))
    return [samples[end - count : end] for end, count in zip(ends, calls, strict=True)]


def _take_turns(subjects: Sequence[Subject], spec: LatencySpec) -> int:
    """Sample blocks of each in turns, for one load's share of the runs and the seconds; return the calls of each."""
    started = time.perf_counter()
    blocks = 0
    while (
        blocks < ceil(spec.min_runs / BLOCK / LOADS)
        or time.perf_counter() - started < len(subjects) * spec.min_seconds / LOADS
    ):
        for subject in subjects:
            subject.sample(BLOCK, 0.0)
        blocks += 1
    return blocks * BLOCK


def latency_spec(rigor: str) -> LatencySpec:
    """Return the protocol's preset of that name.

    Raises:
        UsageError: There is none.
    """
    if rigor not in RIGORS:
        raise UsageError(f"There is no rigor {rigor!r}.", hint=f"Choose from {', '.join(RIGORS)}.")
    return RIGORS[rigor]


@dataclass
class Subject:
    """One loaded artifact and what has been measured of it so far."""

    artifact: Path
    threads: int
    process: MeasuringProcess
    load_ms: float
    baseline_memory_bytes: int
    versions: Mapping[str, str]
    warm: dict[str, Any] = field(default_factory=dict)
    samples: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    process_seconds: float = 0.0
    peak_memory_bytes: int | None = None

    def warm_up(self, spec: LatencySpec, progress: Progress) -> None:
        """Call it until its times are steady."""
        with progress(f"Warming up {self.artifact.name}"):
            self.warm = self.process.ask("warm_up", spec=asdict(spec))

    @property
    def own_seconds(self) -> float:
        """CPU time of the process since it is warm, samples and all."""
        return self.process_seconds - float(self.warm["process_seconds"])

    def load_again(self) -> None:
        """Load the artifact where it now happens to lie; the first calls, which find nothing in place, do not count."""
        self.process.ask("load", path=str(self.artifact.absolute()), threads=self.threads)
        self.process.ask("sample", runs=1, seconds=RELOAD_SECONDS)

    def sample(self, runs: int, seconds: float) -> None:
        """Call it that many times, and for as long."""
        reply = self.process.ask("sample", runs=runs, seconds=seconds)
        self.samples += reply["samples_ms"]
        self.cpu_seconds += reply["cpu_seconds"]
        self.wall_seconds += reply["wall_seconds"]
        self.process_seconds = reply["process_seconds"]
        if self.peak_memory_bytes is None:  # what a later load leaves behind is not the artifact's
            self.peak_memory_bytes = reply["peak_memory_bytes"]

    def result(self, host: HostInfo, rigor: str, params: int | None, macs: int | None) -> ProfileResult:
        """Sum up all samples."""
        cores_used = self.cpu_seconds / self.wall_seconds
        flags = {
            "not_steady": not self.warm["steady"],
            "drift": drifts(self.samples),
            "busy_host": is_busy(host, self.threads),
            "not_its_system": not target_of(self.artifact).on_own_system,
            "more_threads": cores_used > self.threads + _CORES_TOLERANCE,
        }
        return ProfileResult(
            device=DEVICE,
            artifact=self.artifact,
            target=target_of(self.artifact).name,
            threads=self.threads,
            rigor=rigor,
            latency_ms=summarize(self.samples),
            load_ms=self.load_ms,
            first_ms=self.warm["first_ms"],
            warmup_calls=self.warm["calls"],
            samples_ms=tuple(self.samples),
            instructions=None,
            peak_memory_bytes=self.peak_memory_bytes,
            baseline_memory_bytes=self.baseline_memory_bytes,
            cores_used=cores_used,
            params=params,
            macs=macs,
            size_bytes=size_of(self.artifact),
            flags=tuple(flag for flag, raised in flags.items() if raised),
            host=host,
        )


def load_subject(stack: ExitStack, artifact: Path, threads: int, patience_s: float, progress: Progress) -> Subject:
    """Load an artifact in a process of its own, which ends with the stack.

    Raises:
        MvtError: As :func:`profile_on_host`.
    """
    check_threads(artifact, threads)
    target = target_of(artifact)
    if not target.runs_here:
        raise UsageError(
            f"{artifact.name} cannot be profiled on this host: {target.title}'s runtime is not available, and the "
            "reference runtime is not optimised.",
            hint="Profile it on a system with that runtime; `mvt verify` and `mvt profile --memory` work on this host.",
            code="no_latency",
        )
    with progress(f"Loading {artifact.name}"):
        process = stack.enter_context(MeasuringProcess(threads, patience_s=patience_s))
        loaded = process.ask("load", path=str(artifact.absolute()), threads=threads)
    return Subject(artifact, threads, process, **loaded)


def size_of(artifact: Path) -> int:
    """Return an artifact's size in bytes, all files of a folder together."""
    return sum(file.stat().st_size for file in artifact_files(artifact))
