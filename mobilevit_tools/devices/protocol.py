"""The runner's side of the wire: tensor files and its one line of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevit_tools.devices._base import RunRequest, Timing
from mobilevit_tools.errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int32", "int64")
MAX_TENSOR_BYTES = 1 << 32


@dataclass(frozen=True)
class Report:
    """What the runner printed.

    Attributes:
        timing: Times in milliseconds.
        planned_bytes: Memory that the runtime planned ahead; None where it does not plan.
        maxrss_bytes: Peak resident memory of the runner.
        threads: Threads that the runtime used.
    """

    timing: Timing
    planned_bytes: int | None
    maxrss_bytes: int
    threads: int


def write_tensor(path: Path, array: NDArray[Any]) -> None:
    """Write ``array`` as the runner reads it: a line of text with type and sizes, then the little-endian values."""
    import numpy as np

    sizes = " ".join(str(size) for size in array.shape)
    with path.open("wb") as file:
        file.write(f"mvt1 {array.dtype.name} {sizes}\n".encode("ascii"))
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)


def read_tensor(path: Path) -> NDArray[Any]:
    """Read a tensor file that a runner wrote.

    Raises:
        DeviceError: It is not one, or not complete.
    """
    import numpy as np

    with path.open("rb") as file:
        words = file.readline(1024).decode("ascii", errors="replace").split()
        sizes = [int(word) for word in words[2:] if word.isdecimal()]
        if len(words) < 3 or words[0] != "mvt1" or words[1] not in DTYPES or len(sizes) != len(words) - 2:
            raise DeviceError("The device returned an invalid tensor.", code="bad_answer")
        dtype = np.dtype(words[1]).newbyteorder("<")
        expected = math.prod(sizes) * dtype.itemsize
        held = path.stat().st_size - file.tell()
        if expected != held or expected > MAX_TENSOR_BYTES:
            raise DeviceError(
                f"The device returned {held} bytes of an output of {expected}.",
                hint="The connection may have dropped; run it again.",
                code="bad_answer",
            )
        return np.frombuffer(file.read(), dtype).reshape(sizes)


def options(request: RunRequest) -> list[str]:
    """Return the runner's options for what decides, beside the numbers of runs, when it goes on to the next step."""
    words = ["--warmup-seconds", str(request.warmup_s), "--seconds", str(request.seconds)]
    if (settling := request.settling) is not None:
        words += ["--window", str(settling.window), "--agreement", str(settling.agreement)]
        words += ["--settle-runs", str(settling.max_runs), "--settle-seconds", str(settling.max_seconds)]
    return words


def suppression() -> list[str]:
    """Return the runner's options for a detector's boxes."""
    from mobilevit_tools.tasks.suppression import LEAST_SCORE, MOST_CANDIDATES, MOST_DETECTIONS, MOST_OVERLAP

    return ["--suppress", f"{LEAST_SCORE},{MOST_OVERLAP},{MOST_CANDIDATES},{MOST_DETECTIONS}"]


def parse_report(text: str, *, warmup: int, iterations: int, at_least: bool = False) -> Report:
    """Parse the runner's line of JSON.

    Args:
        text: What it printed.
        warmup: How many runs it was to warm up with.
        iterations: How many runs it was to time.
        at_least: Whether it was free to do more of both.

    Raises:
        DeviceError: It printed something else, or other than one time above 0 for each run.
    """
    try:
        fields = json.loads(text.strip().splitlines()[-1])
        timing = Timing(
            load_ms=float(fields["load_ms"]),
            warmup_ms=_times(fields["warmup_ms"], warmup, at_least=at_least),
            samples_ms=_times(fields["samples_ms"], iterations, at_least=at_least),
        )
        planned = fields["planned_bytes"]
        return Report(
            timing=timing,
            planned_bytes=None if planned is None else int(planned),
            maxrss_bytes=int(fields["maxrss_kb"]) * 1024,
            threads=int(fields["threads"]),
        )
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError) as error:
        raise DeviceError("The runner did not report its measurements.", code="bad_answer") from error


def _times(values: Sequence[Any], count: int, *, at_least: bool) -> tuple[float, ...]:
    times = tuple(map(float, values))
    if len(times) < count or (len(times) > count and not at_least):
        raise ValueError("not a time for each run")
    return times
