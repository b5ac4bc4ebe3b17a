"""Measure how fast an artifact runs, here or on a device, alone, against another, or against a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mobilevit_tools.api.given import given_artifact
from mobilevit_tools.artifacts.artifact import Artifact
from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.errors import DeviceError, GateError, UsageError
from mobilevit_tools.models.names import is_registered, resolve
from mobilevit_tools.process_state import restoring
from mobilevit_tools.profiling.baseline import compare_with_baseline, read_profile
from mobilevit_tools.profiling.device import ROUNDS, profile_on_device
from mobilevit_tools.profiling.host import DEVICE, compare_on_host, profile_on_host
from mobilevit_tools.profiling.memory import profile_memory
from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
from mobilevit_tools.profiling.statistics import Comparison, Verdict
from mobilevit_tools.profiling.statistics import compare as compare_samples
from mobilevit_tools.profiling.trace import trace_of
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.writing import check_file, write_whole

MAX_REGRESS = 0.02
"""How much slower than a baseline is allowed, as a share of it, where nobody says."""


@restoring
def profile(
    artifact: str | Path,
    *,
    device: str = DEVICE,
    threads: int = 1,
    rigor: str = "default",
    per_op: bool = False,
    trace: str | Path | None = None,
    node_data: str | Path | None = None,
    overwrite: bool = False,
    against: str | Path | ProfileResult | None = None,
    max_regress: float = MAX_REGRESS,
    memory: bool = False,
    progress: Progress = silent,
) -> ProfileResult:
    """Measure an artifact by the latency protocol.

    The artifact runs in a process of its own, so it is a file: a module in memory is exported first.

    Args:
        artifact: The artifact's path.
        device: Where to run it, as ``mvt devices`` lists them. ``host`` runs it in process, operator times apart.
        threads: Threads of one inference.
        rigor: ``quick``, ``default`` or ``mlperf``: how many runs and seconds.
        per_op: Whether to time every operator, in runs of their own.
        trace: Receives the operator times for Chrome's trace viewer or Perfetto; they are then taken, too.
        node_data: Receives the operator times for Model Explorer, over the graph that :func:`inspect` writes with
            ``graph``; they are then taken, too.
        overwrite: Replace ``trace`` and ``node_data``.
        against: An earlier measurement in the same place, or the file that ``mvt profile --json`` or
            :meth:`ProfileResult.to_json` gave of it.
        max_regress: How much slower than ``against`` is allowed, as a share of it: 0.02 is two percent.
        memory: Only look at memory, in one inference and without times: what the process takes where the target's
            runtime is on this machine, and the peak of activations where the artifact's program tells.
        progress: Told of every step.

    Raises:
        BadInputError: The artifact is missing or cannot be loaded, or what it would write cannot be written.
        UsageError: There is no such device or rigor, or no latency to be had for this artifact there; or a file
            that it would write exists.
        DeviceError: The device failed, or the artifact crashed or hung.
        GateError: The device computes something else than this machine does, or this one gets what is not finite; or
            the artifact is certainly slower than ``against`` by more than ``max_regress``, and ``result`` holds the
            :class:`ProfileResult`.

    Example:
        >>> first = mvt.profile(artifact, rigor="quick")
        >>> first.latency_ms.n >= 30
        True
        >>> _ = Path("before.json").write_text(first.to_json())
        >>> try:
        ...     mvt.profile(artifact, against="no-such.json")
        ... except mvt.BadInputError as error:
        ...     print(error.message)
        no-such.json cannot be read: No such file or directory.
    """
    given = given_artifact(artifact, "profile")
    if memory and (device != DEVICE or per_op or trace or node_data or against is not None):
        raise UsageError("Memory is looked at alone, on this host.", hint="Omit the other options, or --memory.")
    baseline = against if against is None or isinstance(against, ProfileResult) else read_profile(Path(against))
    manifest = given.manifest
    for file in (trace, node_data):
        if file is not None:
            check_file(Path(file), overwrite=overwrite)
            per_op = True
    with given.naming_changes():  # not before: reading a file makes its next load faster
        try:
            if memory:
                result = profile_memory(given, threads=threads, progress=progress)
            else:
                result = _measure(given.path, device, threads=threads, rigor=rigor, per_op=per_op, progress=progress)
        except DeviceError as error:
            if error.error_code == "crash":  # a file that ends its runtime wherever it is opened is at fault itself
                given.open().close()
            raise
    if trace is not None and result.per_op is not None:
        write_whole(Path(trace), trace_of(result.per_op, result.device).encode())
    if node_data is not None and result.per_op is not None:
        write_whole(Path(node_data), _node_data(given, result.per_op, result.device))
    result = _with_model(_with_digest(result), manifest)
    if baseline is None:
        return result
    regression = compare_with_baseline(result, baseline, max_regress)
    result = replace(result, regression=regression)
    if regression.regressed:
        raise GateError(f"{artifact} regressed: {regression.in_words}.", result=result)
    return result


def _node_data(given: Artifact, operators: Sequence[OperatorTime], device: str) -> bytes:
    from mobilevit_tools.api.graph import nodes_of, pieces_of
    from mobilevit_tools.reporting.graph import times_of
    from mobilevit_tools.reporting.model_explorer import node_data

    with given.open() as session:
        pieces = pieces_of(session, given.manifest)
    times = times_of(nodes_of(given.path, given.target, pieces), operators)
    return node_data(times, sum(operator.ms for operator in operators), device)


def _with_model(result: ProfileResult, manifest: Manifest | None) -> ProfileResult:
    """Say what the manifest knows of the model, where it is the manifest of the bytes that were measured."""
    if manifest is None or manifest.artifact.sha256 != result.sha256:
        return result
    name = manifest.model.name
    # Another version may have bundled weights under a tag that this one does not know.
    published = resolve(name.partition(".")[0])[0].published.latency_ms if is_registered(name) else {}
    return replace(result, params=manifest.model.params, macs=manifest.model.macs, published_ms=published)


def _measure(path: Path, device: str, *, threads: int, rigor: str, per_op: bool, progress: Progress) -> ProfileResult:
    if device != DEVICE:
        (result,) = profile_on_device(device, [path], threads=threads, rigor=rigor, per_op=per_op, progress=progress)
        return result
    result = profile_on_host(path, threads=threads, rigor=rigor, progress=progress)
    if per_op:
        # Operators are timed by the native runner: its profiler slows the runs that it watches.
        (timed,) = profile_on_device(device, [path], threads=threads, rigor="quick", per_op=True, progress=progress)
        result = replace(result, per_op=timed.per_op)
    return result


@restoring
def compare(
    a: str | Path,
    b: str | Path,
    *,
    device: str = DEVICE,
    threads: int = 1,
    rigor: str = "default",
    progress: Progress = silent,
) -> ComparisonResult:
    """Measure two artifacts in turns, A B A B, and tell whether ``b`` is faster or slower than ``a``.

    Args:
        a: An artifact.
        b: Another one.
        device: Where to run both, as ``mvt devices`` lists them.
        threads: Threads of one inference.
        rigor: ``quick``, ``default`` or ``mlperf``: how many runs and seconds.
        progress: Told of every step.

    Raises:
        UsageError: The device gives neither a latency nor a count.
        MvtError: As :func:`profile`.

    Example:
        >>> try:
        ...     mvt.compare(artifact, net)
        ... except mvt.UsageError as error:
        ...     print(error.message)
        compare takes the path of an artifact, not a module in memory.
    """
    first, second = given_artifact(a, "compare").path, given_artifact(b, "compare").path
    if device == DEVICE:
        compared = compare_on_host(first, second, threads=threads, rigor=rigor, progress=progress)
        return replace(compared, a=_with_digest(compared.a), b=_with_digest(compared.b))
    one, other = map(
        _with_digest,
        profile_on_device(device, [first, second], threads=threads, rigor=rigor, progress=progress),
    )
    if one.instructions is not None and other.instructions is not None:
        return ComparisonResult(one, other, _exact(one.instructions, other.instructions))
    if one.latency_ms is None or other.latency_ms is None:
        raise UsageError(f"{device} reports no times, so nothing can be compared.", hint="Try --device count.")
    block = len(one.samples_ms) // ROUNDS
    turns_a, turns_b = ([each.samples_ms[i * block : (i + 1) * block] for i in range(ROUNDS)] for each in (one, other))
    return ComparisonResult(one, other, compare_samples(turns_a, turns_b, block=block))


def _with_digest(result: ProfileResult) -> ProfileResult:
    """Say of which bytes a measurement is; after it, because reading a file makes its next load faster."""
    return replace(result, sha256=describe_artifact(result.artifact).sha256)


def _exact(a: int, b: int) -> Comparison:
    ratio = b / a
    verdict: Verdict = "faster" if b < a else "slower" if b > a else "no difference"
    return Comparison(verdict=verdict, ratio=ratio, interval=(ratio, ratio), pairs=1)
