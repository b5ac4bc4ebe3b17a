"""`arm64`: the phone's code path under QEMU's user-mode emulation. It tells what is computed, never how fast."""

from __future__ import annotations

from pathlib import Path

from mobilevit_tools.devices import runner, toolchain
from mobilevit_tools.devices._base import Readiness, RunRequest
from mobilevit_tools.devices.local import LocalDevice
from mobilevit_tools.errors import MissingDependencyError, UsageError

CPUS = ("cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76", "cortex-a710", "neoverse-n1", "max")
_DEFAULT_CPU = "cortex-a76"


class Arm64Device(LocalDevice):
    """The aarch64 runner under ``qemu-aarch64 -cpu CPU``; the CPU decides which kernels the runtimes choose."""

    emulated = True

    def __init__(self, cpu: str) -> None:
        super().__init__(f"arm64:{cpu}")
        self._cpu = cpu

    def arch(self) -> str:
        """What is emulated."""
        return "aarch64"

    def schedule(self, request: RunRequest) -> tuple[int, int]:  # noqa: ARG002
        """Nothing but the run that computes the outputs."""
        return 0, 0

    def start(self, program: runner.Program) -> list[str | Path]:
        """The emulator around the runner's own loader."""
        return [toolchain.find_qemu(), "-cpu", self._cpu, *program.command(".")]

    def probe(self) -> Readiness:
        """Ready where the emulator, the cross compiler and the aarch64 libraries are."""
        try:
            toolchain.find_qemu()
            toolchain.find_compiler(self.arch())
            toolchain.find_runtimes(self.arch())
        except MissingDependencyError as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)
        return Readiness(self.name, ready=True, detail=f"{self._cpu} emulated on this host; numerics only.")


def open_device(argument: str | None) -> Arm64Device:
    """Return an emulated core.

    Raises:
        UsageError: The core is not one of `CPUS`.
    """
    cpu = argument or _DEFAULT_CPU
    if cpu not in CPUS:
        raise UsageError(f"There is no emulated core {cpu!r}.", hint=f"Cores: {', '.join(CPUS)}.")
    return Arm64Device(cpu)


def probe() -> tuple[Readiness, ...]:
    """Tell whether emulation is possible."""
    return (Arm64Device(_DEFAULT_CPU).probe(),)
