"""`count`: instructions of one inference, from callgrind. The count repeats exactly, so no noise can hide a change."""

from __future__ import annotations

import re
from pathlib import Path

from mobilevit_tools.devices import runner, toolchain
from mobilevit_tools.devices._base import Readiness, RunRequest, RunResult
from mobilevit_tools.devices.local import LocalDevice
from mobilevit_tools.errors import DeviceError, MissingDependencyError, UsageError

_MEASURED = "mvt_measured_run"  # the runner's function around one inference
_COUNTS = "callgrind.out"
_CPUINFO = Path("/proc/cpuinfo")


class CountDevice(LocalDevice):
    """The native runner under ``valgrind --tool=callgrind``, which collects in the measured inferences only."""

    emulated = True

    @property
    def label(self) -> str:
        """The name, and what of this machine decides the count: the CPU by which the runtimes choose their kernels.

        On x86_64 valgrind shows programs a CPU of its own, one of few, by the widest vectors that it can imitate: all
        machines with AVX2 count the same. On aarch64 programs see the machine's own cores.
        """
        arch = self.arch()
        lines = [line.partition(":") for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()]
        values = [(name.strip(), value.strip()) for name, _, value in lines]
        if arch == "x86_64":
            flags = next((value.split() for name, value in values if name == "flags"), [])
            return f"{self.name}:{arch}-{next((each for each in ('avx2', 'avx') if each in flags), 'sse')}"
        makers, parts = ([value for name, value in values if name == f"CPU {each}"] for each in ("implementer", "part"))
        cores = sorted({f"{maker}:{part}" for maker, part in zip(makers, parts, strict=False)})
        return f"{self.name}:{arch}-{','.join(cores)}"

    def arch(self) -> str:
        """This machine's architecture: valgrind runs what the machine runs."""
        return toolchain.host_arch()

    def schedule(self, request: RunRequest) -> tuple[int, int]:  # noqa: ARG002
        """One run to pack weights, one to count: the next ones would count the same."""
        return 1, 1

    @property
    def variables(self) -> dict[str, str]:
        """Where valgrind's tools are: by itself it looks where it was built for, and it may have been unpacked."""
        tools = toolchain.find_valgrind().parents[1] / "libexec" / "valgrind"
        return {"VALGRIND_LIB": str(tools)} if tools.is_dir() else {}

    def start(self, program: runner.Program) -> list[str | Path]:
        """Callgrind around the runner, which finds its libraries beside itself."""
        return [
            toolchain.find_valgrind(),
            "--tool=callgrind",
            f"--callgrind-out-file={_COUNTS}",
            f"--toggle-collect={_MEASURED}",
            "--error-exitcode=0",
            program.files[runner.RUNNER],
        ]

    def measure(self, request: RunRequest) -> RunResult:
        """Count one inference; see `Device.measure`.

        Raises:
            UsageError: More than one thread was asked for: only a single thread's count repeats.
        """
        if request.threads != 1:
            raise UsageError(
                f"The count device runs one thread, not {request.threads}.", hint="Omit --threads, or pass 1."
            )
        return super().measure(request)

    def instructions(self, iterations: int) -> int | None:
        """Read callgrind's total.

        Raises:
            DeviceError: Callgrind wrote no total, or counted nothing.
        """
        counts = self.folder.joinpath(_COUNTS).read_text(encoding="utf-8", errors="replace")
        total = re.search(r"^(?:totals|summary): (\d+)$", counts, re.MULTILINE)
        if total is None or int(total.group(1)) == 0:
            raise DeviceError("callgrind counted nothing.", hint="Is valgrind working? Try: valgrind true")
        return int(total.group(1)) // iterations

    def probe(self) -> Readiness:
        """Ready where valgrind and a compiler are installed."""
        try:
            toolchain.find_valgrind()
            toolchain.find_compiler(toolchain.host_arch())
            toolchain.find_runtimes(toolchain.host_arch())
        except MissingDependencyError as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)
        return Readiness(self.name, ready=True, detail="callgrind on this machine.")


def open_device(argument: str | None) -> CountDevice:
    """Return the counter.

    Raises:
        UsageError: ``argument`` is not None.
    """
    if argument is not None:
        raise UsageError("count takes no argument.", hint="Use --device count.")
    return CountDevice("count")


def probe() -> tuple[Readiness, ...]:
    """Tell whether counting is possible."""
    return (CountDevice("count").probe(),)
