"""Devices that run the native runner: push it and the artifact, run, pull the outputs, clean up."""

from __future__ import annotations

import signal
import tarfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.devices import protocol, runner
from mobilevit_tools.devices._base import Device, RunRequest, RunResult
from mobilevit_tools.devices.process import Finished
from mobilevit_tools.errors import BadInputError, DeviceError, UsageError
from mobilevit_tools.targets._base import load
from mobilevit_tools.targets.registry import target_of

_INPUT, _OUTPUT, _PROFILE = "input.bin", "output.bin", "profile.bin"
_SAYS = "runner: "
_NOT_LOADED, _INPUT_REFUSED = 3, 4
_SHELL_CANNOT_RUN = (126, 127)
PACKED = ".tar"


class NativeDevice(Device):
    """A device that runs the native runner; a link says how files get there and how a program starts there."""

    suppresses = True

    @property
    @abstractmethod
    def label(self) -> str:
        """Where results come from, in full."""

    @abstractmethod
    def arch(self) -> str:
        """The architecture of the runner that the device takes: ``x86_64`` or ``aarch64``."""

    def program(self, target: str) -> runner.Program:
        """Return the runner for artifacts of a target; raises as `runner.build` does."""
        return runner.build(target, self.arch())

    @abstractmethod
    def push(self, files: Mapping[str, Path]) -> None:
        """Put files into the device's folder under plain names; those that are already there need not travel."""

    @abstractmethod
    def run(self, program: runner.Program, arguments: Sequence[str], timeout_s: float) -> Finished:
        """Start the runner in the device's folder and wait for it.

        Returns:
            How it ended; no code where the time limit did, and then nothing of it still runs.
        """

    @abstractmethod
    def pull(self, name: str, path: Path) -> None:
        """Fetch a file from the device's folder."""

    @abstractmethod
    def clean(self) -> None:
        """Remove everything that was put on the device."""

    def schedule(self, request: RunRequest) -> tuple[int, int]:
        """How many runs to warm up with, and how many to time, at least."""
        return request.warmup, request.iterations

    def conditions(self) -> tuple[str, ...]:
        """What makes times taken now doubtful; asked for before and after each run."""
        return ()

    def instructions(self, iterations: int) -> int | None:  # noqa: ARG002
        """Instructions of one inference in the run that just ended, where the device counts them."""
        return None

    def measure(self, request: RunRequest) -> RunResult:
        """Run the artifact with the native runner; see `Device.measure`."""
        self.refuse_times(request)
        target = target_of(request.artifact)
        if request.inputs.dtype.name not in protocol.DTYPES or request.inputs.ndim == 0:
            raise BadInputError(f"The native runner takes no {request.inputs.dtype} inputs.")
        if request.per_op and target.profile_reader is None:
            raise UsageError(f"The native runner reports no operator times for {target.name} artifacts.")
        program = self.program(target.name)
        if request.suppress and isinstance(program, runner.Script):
            raise UsageError(
                f"{self.name} runs artifacts in Python, which does not suppress the boxes of a detector.",
                hint="Use a device with the native runner, or export with --nms where the target has it.",
            )
        model = f"model{request.artifact.suffix.lower()}{PACKED if request.artifact.is_dir() else ''}"
        warmup, iterations = self.schedule(request)
        arguments = [model, _INPUT, _OUTPUT, str(warmup), str(iterations), *self._options(request)]
        with TemporaryDirectory(prefix="mvt-") as folder:
            work = Path(folder)
            protocol.write_tensor(work / _INPUT, request.inputs)
            file = _pack(request.artifact, work / model) if request.artifact.is_dir() else request.artifact.absolute()
            self.push({**program.files, model: file, _INPUT: work / _INPUT})
            before = self.conditions()
            report = protocol.parse_report(
                self._finish(program, arguments, request),
                warmup=warmup,
                iterations=iterations,
                at_least=not self.emulated,
            )
            flags = tuple(dict.fromkeys((*before, *self.conditions())))
            self.pull(_OUTPUT, work / _OUTPUT)
            outputs = protocol.read_tensor(work / _OUTPUT)
            per_op = None
            if target.profile_reader is not None and request.per_op:
                self.pull(_PROFILE, work / _PROFILE)
                per_op = load(target.profile_reader)(work / _PROFILE)
        return RunResult(
            device=self.label,
            outputs=outputs,
            timing=None if self.emulated else report.timing,
            planned_bytes=report.planned_bytes,
            maxrss_bytes=None if self.emulated else report.maxrss_bytes,
            threads=report.threads,
            per_op=per_op,
            instructions=self.instructions(iterations),
            flags=flags,
        )

    def _options(self, request: RunRequest) -> list[str]:
        """Return the runner's options for a request."""
        options = ["--threads", str(request.threads)]
        if not self.emulated:
            options += protocol.options(request)
        if request.per_op:
            options += ["--profile", _PROFILE]
        if request.suppress:
            options += protocol.suppression()
        return options

    def _finish(self, program: runner.Program, arguments: Sequence[str], request: RunRequest) -> str:
        done = self.run(program, arguments, request.timeout_s)
        if done.code == 0:
            return done.stdout
        if done.code is None:
            raise DeviceError(
                f"The runner on {self.name} did not end within {request.timeout_s:g} s and was stopped.",
                hint="Try `mvt profile --rigor quick`, which runs fewer inferences.",
                code="device_hangs",
            )
        said = [line.removeprefix(_SAYS) for line in done.stderr.splitlines() if line.startswith(_SAYS)]
        reason = (said[-1] if said else done.last_words).rstrip(".")  # an emulator may have the last word
        if done.code in {_NOT_LOADED, _INPUT_REFUSED} and said:
            raise BadInputError(f"{request.artifact.name} does not run: {reason}.", code="not_runnable")
        if done.code in _SHELL_CANNOT_RUN or "Exec format error" in done.stderr:
            raise DeviceError(
                f"{self.name} cannot start a program for {program.arch}: {reason}.",
                hint="The device must be 64-bit and of that architecture.",
                code="wrong_architecture",
            )
        ended = -done.code if done.code < 0 else done.code - 128
        if ended in {int(known) for known in signal.Signals}:
            raise DeviceError(
                f"The runner on {self.name} crashed with {signal.Signals(ended).name}.",
                hint="Check the artifact on the host first: mvt verify.",
                code="runner_crashed",
            )
        raise DeviceError(f"The runner on {self.name} failed with status {done.code}: {reason}.", code="runner_failed")


def _pack(folder: Path, file: Path) -> Path:
    """Pack an artifact that is a folder into one file, without what differs from copy to copy."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(file, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name, filter=plain)
    return file
