"""What every device offers: whether it is ready, and one measurement of one artifact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.targets.registry import target_of, targets_on

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray


def check_target(kind: str, artifact: Path) -> None:
    """Refuse an artifact that a kind of device does not run.

    Raises:
        BadInputError: It does not, or it is no artifact.
    """
    target, taken = target_of(artifact).name, targets_on(kind)
    if target not in taken:
        raise BadInputError(
            f"{kind} runs {' and '.join(taken)} artifacts, not {target}.",
            hint="Export the model to one of these targets, or use another device; see `mvt devices`.",
            code="no_runner",
        )


@dataclass(frozen=True)
class Readiness:
    """Whether a device can be used now.

    Attributes:
        device: What to give to ``--device``.
        ready: Whether a measurement can start.
        detail: What was found, or the exact reason why the device is not ready; one sentence.
        remedy: What to do about it; None where it is ready.
    """

    device: str
    ready: bool
    detail: str
    remedy: str | None = None


@dataclass(frozen=True)
class Settling:
    """What follows the runs that warm an artifact up at least: more of them, a window at a time, until it is steady.

    Attributes:
        window: Runs in a window; a new one is begun for every look.
        agreement: Two consecutive windows are steady when their medians differ by no more than this share.
        max_runs: After so many further runs the timed ones begin all the same.
        max_seconds: Or after so many further seconds.
    """

    window: int
    agreement: float
    max_runs: int
    max_seconds: float

    def is_steady(self, times_ms: Sequence[float]) -> bool:
        """Tell whether the last two windows agree."""
        if len(times_ms) < 2 * self.window:
            return False
        earlier = median(times_ms[-2 * self.window : -self.window])
        return abs(median(times_ms[-self.window :]) - earlier) <= self.agreement * earlier


@dataclass(frozen=True)
class RunRequest:
    """One artifact to run on one input.

    Attributes:
        artifact: The file, as `mvt export` wrote it.
        inputs: (k * N, ...) in the artifact's own input type, where N is the artifact's batch (1 where it is free).
            The timed runs take the first N, the outputs come from all.
        warmup: Runs before the timed ones, at least; their times are kept apart. Emulated devices choose by themselves.
        iterations: Timed runs, at least. Emulated devices choose by themselves.
        threads: Threads of the runtime.
        per_op: Whether to time every operator, in runs apart from the timed ones.
        timeout_s: How long the whole run may take, in seconds, before it counts as hung.
        warmup_s: Seconds of runs before the timed ones, at least.
        seconds: Seconds of timed runs, at least.
        settling: How the warm-up goes on after that; None where it ends.
        suppress: Whether the artifact gives boxes and scores: every run then ends with what they detect, which is the
            output (k * N, K, 6): a box, its score and its class, zeros behind the last one.
    """

    artifact: Path
    inputs: NDArray[Any]
    warmup: int = 20
    iterations: int = 100
    threads: int = 1
    per_op: bool = False
    timeout_s: float = 600.0
    warmup_s: float = 0.0
    seconds: float = 0.0
    settling: Settling | None = None
    suppress: bool = False

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.iterations < 1 or self.threads < 1 or not self.timeout_s > 0:
            raise UsageError(
                f"A run needs warmup >= 0, iterations >= 1, threads >= 1 and a positive time limit, not "
                f"{self.warmup}, {self.iterations}, {self.threads} and {self.timeout_s}."
            )
        if not (0 <= self.warmup_s < inf and 0 <= self.seconds < inf):
            raise UsageError(f"A run takes seconds >= 0, not {self.warmup_s} and {self.seconds}.")


@dataclass(frozen=True)
class Timing:
    """Wall-clock times of one run, in milliseconds, every sample in the order in which it was taken.

    Attributes:
        load_ms: From the artifact on storage to an instance that is ready to run.
        warmup_ms: The runs before the timed ones; the first is the first inference after loading.
        samples_ms: The timed runs.

    Raises:
        ValueError: A time is not finite, that of loading is below 0, or that of a run is not above 0.
    """

    load_ms: float
    warmup_ms: tuple[float, ...]
    samples_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what no clock shows: the times come from a device."""
        if not 0 <= self.load_ms < inf or not all(0 < ms < inf for ms in (*self.warmup_ms, *self.samples_ms)):
            raise ValueError("a reported time is not finite, or not above 0")


@dataclass(frozen=True)
class OperatorTime:
    """One operator's mean time per inference.

    Attributes:
        name: The runtime's name of the operator at this place in the model.
        kind: The operator's type.
        ms: Mean milliseconds per inference.
        delegate: Whether it ran inside a delegate.
        call: The number of the call into a delegate that it ran in, from 1; None outside, or where nothing tells.
    """

    name: str
    kind: str
    ms: float
    delegate: bool = False
    call: int | None = None


@dataclass(frozen=True)
class Partitioning:
    """How a device with an accelerator divides an artifact between that and its CPU.

    Attributes:
        partitions: Graphs on the accelerator; the CPU computes between any two of them.
        taken: The accelerator's own operators, and how often each.
        outside: Operators of the artifact that the CPU computes, and how often each.
        reasons: Why, by operator, in the compiler's words; the first one where there are several.
    """

    partitions: int
    taken: Mapping[str, int]
    outside: Mapping[str, int]
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class RunResult:
    """What a device measured. Emulated devices have no ``timing``: there is no latency that could be printed.

    Attributes:
        device: Where it ran, in full.
        outputs: The artifact's output for all of the request's inputs, to be compared with the host's.
        timing: Wall-clock times; None where the device is emulated.
        planned_bytes: The memory that the runtime planned ahead; None where it does not plan.
        maxrss_bytes: The peak resident memory of the runner; None where the device is emulated or does not tell.
        threads: Threads that the runtime used.
        per_op: Times per operator, where asked for.
        instructions: Instructions of one inference; only `count` tells them.
        flags: What makes the numbers doubtful: ``not_pinned``, ``throttled``.
        placement: How many operators each compute unit gets; only `iphone` tells.
        partitioning: What its accelerator takes; None where it has none that is asked.
        cpu_seconds: CPU time that the whole measurement took, where the device is this machine and tells it.
    """

    device: str
    outputs: NDArray[Any]
    timing: Timing | None
    planned_bytes: int | None
    maxrss_bytes: int | None
    threads: int
    per_op: tuple[OperatorTime, ...] | None = None
    instructions: int | None = None
    flags: tuple[str, ...] = ()
    placement: tuple[tuple[str, int], ...] | None = None
    cpu_seconds: float | None = None
    partitioning: Partitioning | None = None


class Device(ABC):
    """A place where artifacts run. Use it in ``with``: it is taken on entry, and left as it was found on exit.

    Attributes:
        emulated: Whether it only imitates the hardware, so that its times mean nothing.
        is_this_machine: Whether its times are those of this machine.
        suppresses: Whether it can return what a detector's boxes and scores detect.
        name: What selects it, as in ``--device``.
    """

    emulated: ClassVar[bool] = False
    is_this_machine: ClassVar[bool] = False
    suppresses: ClassVar[bool] = False
    name: str

    @abstractmethod
    def probe(self) -> Readiness:
        """Tell whether the device can be used now; raises nothing for a device that cannot."""

    @abstractmethod
    def measure(self, request: RunRequest) -> RunResult:
        """Run an artifact; only inside ``with``.

        Raises:
            DeviceError: The device failed, or the artifact failed on it.
            BadInputError: The artifact or the input cannot be run by any device of this kind.
            MissingDependencyError: Something that the host needs for this is not installed.
            UsageError: Times were asked of an emulated device.
        """

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def refuse_times(self, request: RunRequest) -> None:
        """Raise `UsageError` where times per operator are asked of a device that has no times."""
        if request.per_op and self.emulated:
            raise UsageError(
                f"{self.name} is emulated and reports no operator times.",
                hint="Use host, adb or ssh for operator times.",
            )
