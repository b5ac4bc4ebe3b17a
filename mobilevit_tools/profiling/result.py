"""What a measurement of one artifact says, whatever it ran on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mobilevit_tools.analysis.lifetimes import ActivationPeak
from mobilevit_tools.devices import OperatorTime, Partitioning
from mobilevit_tools.profiling.environment import HostInfo
from mobilevit_tools.profiling.statistics import Comparison, LatencySummary
from mobilevit_tools.result import Result
from mobilevit_tools.verification.metrics import Distance

PROGRAM = "program"
"""The device of numbers that were computed from an artifact's own program, not measured."""


@dataclass(frozen=True)
class Regression:
    """Today against the baseline.

    Attributes:
        ratio: Today's instructions or, without a count, median latency bounds over the baseline's: what is certain.
        allowed: The largest ratio that is allowed.
        exact: Whether instructions were compared, which noise cannot touch.
        regressed: Whether the ratio is above what is allowed.
    """

    ratio: float
    allowed: float
    exact: bool
    regressed: bool

    @property
    def in_words(self) -> str:
        """The comparison as the end of a sentence."""
        what = "instructions are" if self.exact else "median latency (by interval) is at least"
        return f"its {what} {self.ratio:.4f} times the baseline's, where {self.allowed:g} is allowed"


@dataclass(frozen=True, repr=False)
class ProfileResult(Result, command="profile"):
    """One artifact, measured in one place.

    Attributes:
        device: Where it ran; ``program`` where nothing ran and the artifact's own program tells. Numbers of different
            devices are never compared.
        artifact: The artifact.
        target: What it was exported to: ``onnx``, ``coreml``, ``executorch``.
        threads: Threads of one inference.
        rigor: The name of the protocol's preset; ``memory`` where no times were asked for.
        latency_ms: The steady state; None where the device counts or emulates.
        load_ms: From the artifact on storage to an instance that is ready, the runtime itself being loaded already.
        first_ms: The first inference after loading.
        warmup_calls: Inferences before sampling, the first included.
        samples_ms: Every sample, in order.
        instructions: Instructions of one inference, where the device counts them.
        peak_memory_bytes: The most that was resident in the measuring process, the runtime's own share included.
        baseline_memory_bytes: What was resident before the artifact was loaded; the difference is the artifact's share.
        cores_used: CPU time over wall time while sampling.
        params: Parameters of the model; None where nothing says.
        macs: Multiply-accumulates of one image; None where nothing says.
        size_bytes: Size of the artifact.
        flags: What makes the numbers doubtful: ``not_steady`` (the warm-up reached its cap), ``drift`` (it got slower
            while sampling), ``busy_host`` (other processes competed), ``more_threads`` (more cores were used than
            threads were asked for), ``not_its_system`` (the runtime is the target's own, on a system that its apps do
            not run on).
        host: The machine that measured; None where the device is another one, or has no times.
        per_op: Mean time of every operator, where it was asked for.
        difference: How far the device's outputs are from this machine's; None where this machine itself measured.
        published_ms: Latencies that others published for this model, by their device: never measured here.
        placement: How many operators each compute unit got, where the device tells.
        activations: The peak of activation memory by the lifetimes of the program's values, where it was asked for and
            the program is known.
        partitioning: What the device's accelerator takes, where it tells.
        sha256: Digest of the artifact, as its manifest has it; None in a measurement of an older version.
        regression: How it stands against a baseline; None where it was compared with none.
    """

    device: str
    artifact: Path
    target: str
    threads: int
    rigor: str
    latency_ms: LatencySummary | None
    load_ms: float | None
    first_ms: float | None
    warmup_calls: int | None
    samples_ms: tuple[float, ...]
    instructions: int | None
    peak_memory_bytes: int | None
    baseline_memory_bytes: int | None
    cores_used: float | None
    params: int | None
    macs: int | None
    size_bytes: int
    flags: tuple[str, ...]
    host: HostInfo | None = None
    per_op: tuple[OperatorTime, ...] | None = None
    difference: Distance | None = None
    placement: tuple[tuple[str, int], ...] | None = None
    published_ms: Mapping[str, float] = field(default_factory=dict)
    sha256: str | None = None
    regression: Regression | None = None
    partitioning: Partitioning | None = None
    activations: ActivationPeak | None = None


@dataclass(frozen=True, repr=False)
class ComparisonResult(Result, command="profile"):
    """Two artifacts, measured in turns on one device.

    Attributes:
        a: The first, to which the other is compared.
        b: The second.
        comparison: The verdict on ``b``.
    """

    a: ProfileResult
    b: ProfileResult
    comparison: Comparison
