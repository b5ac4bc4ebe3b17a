"""Measure artifacts with a device's native runner: in turns where there are several, outputs always checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.devices import RunRequest, RunResult, open_device
from mobilevit_tools.devices.registry import find_kind
from mobilevit_tools.errors import BadInputError, GateError, UsageError
from mobilevit_tools.profiling.environment import HostInfo, LoadMeter, is_busy
from mobilevit_tools.profiling.host import latency_spec, size_of
from mobilevit_tools.profiling.protocol import LatencySpec, drifts
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.profiling.statistics import summarize
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.runtimes._base import only_input, seeded_noise
from mobilevit_tools.runtimes.registry import check_threads, open_session
from mobilevit_tools.targets.registry import target_of
from mobilevit_tools.verification import detections
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.metrics import NO_DISTANCE, Distance, distance, worst
from mobilevit_tools.verification.on_device import several_outputs
from mobilevit_tools.verification.tolerances import GATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECKED_INPUTS = 3
PILOT_RUNS = 10
ROUNDS = 10
"""Turns of each artifact where several are measured; each loads and warms up anew, and gives one ratio."""
MIN_TIMEOUT_S = 600.0
EMULATED_TIMEOUT_S = 3600.0
"""An emulator runs some fifty times slower, and the largest models take a second where nothing is emulated."""
PATIENCE = 3
"""How many times as long as the pilot lets expect a run may take before it counts as hung."""


def profile_on_device(
    device: str,
    artifacts: Sequence[Path],
    *,
    threads: int = 1,
    rigor: str = "default",
    per_op: bool = False,
    progress: Progress = silent,
) -> tuple[ProfileResult, ...]:
    """Measure one artifact, or several in turns.

    A short pilot run finds out how fast an artifact is, and so how many runs make the preset's seconds where several
    artifacts take ``ROUNDS`` turns of equally many runs each. The outputs of every run are checked.

    Args:
        device: As in ``--device``; see :data:`mobilevit_tools.devices.DEVICES`.
        artifacts: The artifacts' paths.
        threads: Threads of one inference.
        rigor: A preset of the latency protocol.
        per_op: Whether to time every operator, in runs of their own.
        progress: Told of every step.

    Raises:
        BadInputError: An artifact has not one input, or gives no answer for each image.
        GateError: The device computes something else than this machine does, or this one gets what is not finite.
        DeviceError: The device failed.
        UsageError: The device or the preset does not exist, the device has no times to give, or the artifact's runtime
            takes no number of threads.
    """
    spec = latency_spec(rigor)
    for artifact in artifacts:
        check_threads(artifact, threads)
    requests = []
    expected = []
    for artifact in artifacts:
        inputs, outputs = _on_this_machine(artifact, threads)
        asked = RunRequest(artifact, inputs, iterations=PILOT_RUNS, threads=threads, per_op=per_op)
        requests.append(replace(asked, suppress=len(outputs) > 1))
        expected.append(outputs)
    with open_device(device) as opened:
        pilots = []
        differences: list[list[Distance]] = []
        for request, wanted in zip(requests, expected, strict=True):
            timeout_s = EMULATED_TIMEOUT_S if opened.emulated else MIN_TIMEOUT_S
            if request.suppress and not opened.suppresses:
                raise several_outputs(request.artifact, len(wanted))
            with progress(f"Running {request.artifact.name} on {device}"):
                pilots.append(opened.measure(replace(request, timeout_s=timeout_s)))
            differences.append([_check(request, device, pilots[-1], wanted)])
        runs: list[list[RunResult]] = [[] for _ in artifacts]
        rounds = ROUNDS if len(artifacts) > 1 else 1
        plans = [] if opened.emulated else _plans(requests, pilots, spec, rounds)
        meter = LoadMeter() if opened.is_this_machine else None
        for turn in range(rounds):
            for plan, results, wanted, apart in zip(plans, runs, expected, differences, strict=False):
                with progress(f"Measuring {plan.artifact.name} on {device}, {turn + 1} of {rounds}"):
                    results.append(opened.measure(plan))
                apart.append(_check(plan, device, results[-1], wanted))
        host = None if meter is None else _this_machine(meter, [run for results in runs for run in results])
    return tuple(
        _result(request, rigor, pilot=pilot, runs=results, difference=worst(apart), host=host)
        for request, pilot, results, apart in zip(requests, pilots, runs, differences, strict=True)
    )


def _on_this_machine(artifact: Path, threads: int) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Return seeded inputs, and what this machine computes: a detector's boxes and scores, else the first output."""
    rng = np.random.default_rng(0)
    with open_session(artifact, threads=threads) as session:
        info = only_input(session)
        if any(size is None for size in info.shape[1:]):
            raise UsageError(f"{artifact} has flexible dimensions besides the batch; mvt cannot choose an input size.")
        shape = (info.batch, *(size or 1 for size in info.shape[1:]))
        batches = [seeded_noise(info, shape, rng) for _ in range(CHECKED_INPUTS)]
        detector = session.contract is not None and session.contract.output == "boxes"
        answers = [session.run(array)[: 2 if detector else 1] for array in batches]
    if not all(output.ndim for each in answers for output in each):
        raise BadInputError(f"{artifact} returns a single number, not one result per image.", code="artifact_signature")
    return np.concatenate(batches), [np.concatenate(each) for each in zip(*answers, strict=True)]


def _check(request: RunRequest, device: str, result: RunResult, outputs: Sequence[NDArray[Any]]) -> Distance:
    artifact, expected = request.artifact, outputs[0]
    if request.suppress:
        return _check_detections(request, device, result, outputs)
    if result.outputs.shape != expected.shape:
        raise GateError(f"{artifact} gives {result.outputs.shape} on {device}, and {expected.shape} on this machine.")
    if not np.isfinite(expected).all():
        raise GateError(
            f"{artifact} returns non-finite values on this host, so it was not profiled.",
            hint="Run `mvt verify` on it, or try another precision.",
        )
    apart = distance(expected, result.outputs)
    gate = find_kind(device).gate
    least = target_of(artifact).least_snr_db if gate is None else GATES[gate].snr_db
    if not apart.finite or apart.snr_db is None or apart.snr_db < least:
        raise GateError(
            f"{artifact} returns different outputs on {device} than on this host "
            f"(SNR {'not finite' if apart.snr_db is None else f'{apart.snr_db:.1f} dB'}), so it was not profiled.",
            hint="Run `mvt verify` on it, or try another backend or precision.",
        )
    return apart


def _check_detections(request: RunRequest, device: str, result: RunResult, outputs: Sequence[NDArray[Any]]) -> Distance:
    """Hold what a device detects against the boxes and scores of this machine, as in the device's gate."""
    gate = GATES[find_kind(device).gate or "fp32"]
    images = range(len(outputs[0]))
    wrong = detections.misfit([[each[index : index + 1] for each in outputs] for index in images], [result.outputs])
    for index in images:
        if wrong is not None:
            break
        item = VerificationInput(f"input {index}", "noise", request.inputs[index : index + 1], None)
        wanted = [np.asarray(each[index], np.float64) for each in outputs]
        rows = np.asarray(result.outputs[index], np.float64)
        found = detections.judge(item, wanted, rows, gate, one_class=False).boxes
        if found is not None and found.same < gate.top1_agreement:
            wrong = f"{1 - found.same:.1%} of the detections differ."
    if wrong is not None:
        raise GateError(
            f"{request.artifact} detects something else on {device} than on this host, so it was not profiled: {wrong}",
            hint="Run `mvt verify` on it, or try another backend or precision.",
        )
    return NO_DISTANCE


def _plans(
    requests: Sequence[RunRequest], pilots: Sequence[RunResult], spec: LatencySpec, rounds: int
) -> list[RunRequest]:
    """Plan the runs of one turn: the protocol's own, or where there are several equally many of all artifacts.

    As on the host, artifacts that take turns share the seconds that they have together.
    """
    medians = [max(median(pilot.timing.samples_ms), 1e-3) for pilot in pilots if pilot.timing is not None]
    runs = max(spec.min_runs, math.ceil(len(medians) * spec.min_seconds * 1e3 / sum(medians)))
    plans = []
    for request, milliseconds in zip(requests, medians, strict=True):
        plan = replace(
            request,
            warmup=spec.warmup_calls,
            warmup_s=spec.warmup_seconds,
            settling=spec.settling,
            iterations=spec.min_runs if rounds == 1 else math.ceil(runs / rounds),
            seconds=spec.min_seconds if rounds == 1 else 0.0,  # turns are of equally many runs, whatever they take
            per_op=False,
        )
        timeout_s = max(MIN_TIMEOUT_S, PATIENCE * _expected_seconds(plan, spec, milliseconds / 1e3))
        plans.append(replace(plan, timeout_s=timeout_s))
    return plans


def _expected_seconds(plan: RunRequest, spec: LatencySpec, each: float) -> float:
    warm = max(plan.warmup * each, plan.warmup_s) + min(spec.settle_calls * each, spec.settle_seconds + each)
    return warm + max(plan.iterations * each, plan.seconds) + CHECKED_INPUTS * each


def _this_machine(meter: LoadMeter, runs: Sequence[RunResult]) -> HostInfo:
    own = [run.cpu_seconds for run in runs]
    own_seconds = sum(seconds for seconds in own if seconds is not None) if None not in own else None
    return meter.host_info(own_seconds, {"mobilevit-tools": version("mobilevit-tools")})


def _result(
    request: RunRequest,
    rigor: str,
    *,
    pilot: RunResult,
    runs: Sequence[RunResult],
    difference: Distance,
    host: HostInfo | None,
) -> ProfileResult:
    spec = latency_spec(rigor)
    timings = [run.timing for run in runs if run.timing is not None]
    samples = tuple(sample for timing in timings for sample in timing.samples_ms)
    flags = {flag for run in runs for flag in run.flags}
    if any(not spec.settling.is_steady(timing.warmup_ms) for timing in timings):
        flags.add("not_steady")
    if drifts(samples):
        flags.add("drift")
    if host is not None and is_busy(host, pilot.threads):
        flags.add("busy_host")
    resident = [run.maxrss_bytes for run in runs if run.maxrss_bytes is not None]
    return ProfileResult(
        device=pilot.device,
        artifact=request.artifact,
        target=target_of(request.artifact).name,
        threads=pilot.threads,
        rigor=rigor,
        latency_ms=summarize(samples) if samples else None,
        load_ms=median(timing.load_ms for timing in timings) if timings else None,
        first_ms=timings[0].warmup_ms[0] if timings and timings[0].warmup_ms else None,
        warmup_calls=len(timings[0].warmup_ms) if timings else None,
        samples_ms=samples,
        instructions=pilot.instructions,
        peak_memory_bytes=max(resident) if resident else None,
        baseline_memory_bytes=None,
        cores_used=None,
        params=None,
        macs=None,
        size_bytes=size_of(request.artifact),
        flags=tuple(sorted(flags)),
        host=host,
        per_op=pilot.per_op,
        difference=difference,
        placement=pilot.placement,
        partitioning=pilot.partitioning,
    )
