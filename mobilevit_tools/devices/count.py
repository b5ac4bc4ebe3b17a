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


class CountDevice(LocalDevice):
    """The native runner under ``valgrind --tool=callgrind``, which collects in the measured inferences only."""

    emulated = True

    def arch(self) -> str:
        """This machine's architecture: valgrind runs what the machine runs."""
        return toolchain.host_arch()

    def schedule(self, request: RunRequest) -> tuple[int, int]:  # noqa: ARG002
        """One run to pack weights, one to count: the next ones would count the same."""
        return 1, 1

    def start(self, program: runner.Program) -> list[str | Path]:
        """Callgrind around the runner, which finds its libraries beside itself."""
        return [
            toolchain.find_program("valgrind", "count"),
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
                f"count counts with one thread, not {request.threads}.", hint="Leave --threads away, or give 1."
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
            toolchain.find_program("valgrind", "count")
            toolchain.find_compiler(toolchain.host_arch())
            toolchain.find_onnxruntime_headers()
        except MissingDependencyError as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)
        return Readiness(self.name, ready=True, detail="callgrind on this machine.")


def open_device(argument: str | None) -> CountDevice:
    """Return the counter.

    Raises:
        UsageError: ``argument`` is not None.
    """
    if argument is not None:
        raise UsageError("count takes no argument.")
    return CountDevice("count")


def probe() -> tuple[Readiness, ...]:
    """Tell whether counting is possible."""
    return (CountDevice("count").probe(),)
