"""What one inference takes in memory, without times."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from mobilevit_tools.errors import UsageError
from mobilevit_tools.profiling.host import DEVICE, load_subject, size_of
from mobilevit_tools.profiling.process import PATIENCE_SECONDS
from mobilevit_tools.profiling.result import PROGRAM, ProfileResult
from mobilevit_tools.progress import Progress, silent

if TYPE_CHECKING:
    from mobilevit_tools.artifacts.artifact import Artifact


def profile_memory(artifact: Artifact, *, threads: int = 1, progress: Progress = silent) -> ProfileResult:
    """Measure an artifact's memory in one inference, where its runtime is here, and compute that of its activations.

    Args:
        artifact: The artifact.
        threads: Threads of one inference.
        progress: Told of every step.

    Raises:
        BadInputError: The artifact is missing or cannot be loaded, or a size is known only at run time.
        UsageError: Its runtime is not here, and its program does not tell.
        DeviceError: The artifact crashed, failed or hung.
    """
    target = artifact.target
    peak = baseline = activations = None
    if target.runs_here:
        with ExitStack() as stack:
            subject = load_subject(stack, artifact.path, threads, PATIENCE_SECONDS, progress)
            subject.sample(1, 0.0)
        peak, baseline = subject.peak_memory_bytes, subject.baseline_memory_bytes
    if target.host_systems:  # the session models the runtime, and so has the program
        with progress(f"Reading the program of {artifact.path.name}"), artifact.open(threads=threads) as session:
            activations = session.activation_peak()
    if peak is None and activations is None:
        raise UsageError(
            f"The memory of {artifact.path.name} cannot be measured on this host: {target.title}'s runtime is not "
            "available.",
            hint="Profile it on a system with that runtime.",
            code="no_latency",
        )
    return ProfileResult(
        device=PROGRAM if peak is None else DEVICE,
        artifact=artifact.path,
        target=target.name,
        threads=threads,
        rigor="memory",
        latency_ms=None,
        load_ms=None,
        first_ms=None,
        warmup_calls=None,
        samples_ms=(),
        instructions=None,
        peak_memory_bytes=peak,
        baseline_memory_bytes=baseline,
        cores_used=None,
        params=None,
        macs=None,
        size_bytes=size_of(artifact.path),
        flags=(),
        activations=activations,
    )
