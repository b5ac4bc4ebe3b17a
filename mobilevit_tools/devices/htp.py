"""`htp`: Qualcomm's NPU, by its own compiler and simulator. It tells what runs there and what comes out, no latency."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import machine
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType
from typing import Any, Self

from mobilevit_tools.devices import process, protocol
from mobilevit_tools.devices._base import Device, Partitioning, Readiness, RunRequest, RunResult, check_target
from mobilevit_tools.devices.htp_package import PACKAGE
from mobilevit_tools.devices.toolchain import package_folder
from mobilevit_tools.errors import BadInputError, DeviceError, MissingDependencyError, UsageError

_CHILD = "mobilevit_tools.devices.htp_child"
_INPUT, _OUTPUT, _REPORT = "input.bin", "output.bin", "report.json"


@dataclass(frozen=True)
class Chip:
    """One system on a chip, as the compiler knows it.

    Attributes:
        soc_model: Qualcomm's number of it. With the architecture alone a float GELU or ELU does not compile.
        htp_arch: The version of its NPU.
    """

    soc_model: int
    htp_arch: int


# The numbers are those of ``QcomChipset`` in executorch/backends/qualcomm/serialization/qc_schema.py.
CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        "sm8650": Chip(57, 75),
        "sm8350": Chip(30, 68),
        "sm8450": Chip(36, 69),
        "sm8550": Chip(43, 73),
        "sm8750": Chip(69, 79),
        "sm8850": Chip(87, 81),
    }
)
DEFAULT_CHIP = "sm8650"


class HtpDevice(Device):
    """The simulator, in a process of its own each time: what it was once told of a chip stays in force in a process."""

    emulated = True

    def __init__(self, chip: str) -> None:
        self.name = f"htp:{chip}"
        self._chip = CHIPS[chip]

    def measure(self, request: RunRequest) -> RunResult:
        """Compile the artifact for the NPU and run it in the simulator; see `Device.measure`."""
        self.refuse_times(request)
        check_target("htp", request.artifact)
        if request.inputs.dtype.name not in protocol.DTYPES or request.inputs.ndim == 0:
            raise BadInputError(f"The simulator takes no {request.inputs.dtype} inputs.")
        find_simulator()
        with TemporaryDirectory(prefix="mvt-") as folder:
            work = Path(folder)
            protocol.write_tensor(work / _INPUT, request.inputs)
            files = (request.artifact.absolute(), work / _INPUT, work / _OUTPUT, work / _REPORT)
            numbers = (self._chip.soc_model, self._chip.htp_arch, request.threads)
            # -P: a file in the current folder must not stand in for a module of ours.
            command: list[str | Path] = [sys.executable, "-P", "-m", _CHILD, *files, *map(str, numbers)]
            done = process.run(command, timeout_s=request.timeout_s, cwd=work)
            report = self._report(request, done, work / _REPORT)
            outputs = protocol.read_tensor(work / _OUTPUT)
        return RunResult(
            device=f"{self.name} (HTP v{self._chip.htp_arch}, simulated)",
            outputs=outputs,
            timing=None,
            planned_bytes=None,
            maxrss_bytes=None,
            threads=request.threads,
            partitioning=Partitioning(**report["partitioning"]),
        )

    def _report(self, request: RunRequest, done: process.Finished, file: Path) -> dict[str, Any]:
        if done.code is None:
            raise DeviceError(
                f"The simulator of {self.name} did not end within {request.timeout_s:g} s and was stopped.",
                hint="Simulate a smaller input; a simulated inference takes seconds to minutes.",
                code="device_hangs",
            )
        if done.code != 0 or not file.exists():
            raise DeviceError(
                f"The simulator of {self.name} ended with status {done.code}: "
                f"{done.last_words.rstrip('.') or 'it said nothing'}.",
                hint="Check the artifact on the host first: mvt verify.",
                code="runner_crashed" if done.code < 0 else "runner_failed",
            )
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if "refused" in report:
            reason = str(report["refused"]).rstrip(".")
            raise BadInputError(
                f"{request.artifact.name} does not run on {self.name}: {reason}.",
                hint="Try a newer chip: HTP v68 compiles no GELU or ELU in floating point.",
                code="not_runnable",
            )
        return report

    def probe(self) -> Readiness:
        """Ready where the package is, on a system that its simulator is made for."""
        try:
            find_simulator()
        except MissingDependencyError as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)
        return Readiness(self.name, ready=True, detail="Qualcomm's compiler and simulator; numerics only.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing outlives a run."""


def find_simulator() -> Path:
    """Return the folder of the simulator.

    Raises:
        MissingDependencyError: It is not installed, or there is none for this system.
    """
    if machine().lower() not in {"x86_64", "amd64"} or sys.platform not in {"linux", "win32"}:
        raise MissingDependencyError(
            f"Qualcomm's simulator does not run on {sys.platform} {machine()}.",
            hint="Run this on Linux or Windows on x86-64.",
        )
    try:
        return package_folder(PACKAGE.module or PACKAGE.name)
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{PACKAGE.name} is not installed.", hint=PACKAGE.install) from error


def open_device(argument: str | None) -> HtpDevice:
    """Return a simulated NPU.

    Raises:
        UsageError: The chip is not one of `CHIPS`.
    """
    chip = argument or DEFAULT_CHIP
    if chip not in CHIPS:
        raise UsageError(f"There is no simulated chip {chip!r}.", hint=f"Chips: {', '.join(CHIPS)}.")
    return HtpDevice(chip)


def probe() -> tuple[Readiness, ...]:
    """Tell whether simulation is possible."""
    return (HtpDevice(DEFAULT_CHIP).probe(),)
