"""What runs a cell in tests of the schedule: it writes down when and where, and ends the way the cell's options say.

Options: ``log=FOLDER`` receives a line for everything that happens; ``seconds=S`` is how long it takes; ``meet=N`` lets
it wait until N cells, itself included, have run side by side on its node, but not forever; ``end=WORD`` is how it ends:
``passed``, ``not_verified``, ``failed``, ``bad_input``, ``device``, ``raise``,
``crash``, or ``kill_waiting``, which kills whoever waits for the cell. ``seconds=S*N`` and ``end=WORD*N`` hold for the
first N times only.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.matrix.cell import Cell, CellResult
from tests.found import exported

RUNNER = f"{__name__}:run"
PATIENCE_S = 60.0
EXIT_CODES = {"passed": 0, "not_verified": 0, "failed": 4, "bad_input": 3, "device": 6}


@dataclass(frozen=True)
class Entry:
    """One run of a cell.

    Attributes:
        cell: The cell's name.
        mark: What tells it from others of that name.
        node: The process of the Ray node that it ran on; None without Ray.
        pid: The cell's process.
        start: When it started, on the clock that all processes share.
        end: When it ended; None if it was killed.
        interrupted: Whether it was told to stop.
    """

    cell: str
    mark: str
    node: str | None
    pid: int
    start: float
    end: float | None
    interrupted: bool

    def overlaps(self, other: Entry) -> bool:
        assert self.end is not None
        assert other.end is not None
        return self.start < other.end and other.start < self.end


def stand_in(
    log: Path,
    device: str | None = None,
    *,
    seconds: float | str = 0.0,
    meet: int = 1,
    end: str = "passed",
    mark: str = "",
) -> Cell:
    """Return a cell for this runner; ``mark`` tells it from others."""
    options = (f"log={log}", f"seconds={seconds}", f"meet={meet}", f"end={end}", f"mark={mark}")
    return Cell(model=f"model{mark}", target="onnx", device=device, random_weights=True, options=options)


def entries(log: Path) -> list[Entry]:
    """Return what was written down, in the order in which the runs started."""
    started: dict[str, Entry] = {}
    for line in (log / "log").read_text().splitlines() if (log / "log").exists() else ():
        said = json.loads(line)
        key = said.pop("key")
        started[key] = Entry(**said)
    return sorted(started.values(), key=lambda entry: entry.start)


def parent_of(pid: int) -> int:
    """Return the process that started another; the one that started a cell's is between it and who waits for it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def eventually(happened: Callable[[], object]) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def _beside(log: Path, node: str | None, start: float) -> list[Entry]:
    """Return the runs on a node that have not ended before ``start``."""
    return [entry for entry in entries(log) if entry.node == node and (entry.end is None or entry.end >= start)]


def _of_this_time(text: str, before: int, otherwise: str) -> str:
    """Return WORD of ``WORD*N`` for the first N times."""
    word, _, times = text.partition("*")
    return otherwise if times and before >= int(times) else word


def run(cell: Cell, folder: Path, *, timeout_s: float) -> CellResult:
    """Run a cell; see the module."""
    options = {"seconds": "0", "meet": "1", "end": "passed"} | dict(option.split("=", 1) for option in cell.options)
    log, mark = Path(options["log"]), options["mark"]
    node, pid, start = os.environ.get("RAY_RAYLET_PID"), os.getpid(), time.monotonic()

    def note(end: float | None, *, interrupted: bool = False) -> None:
        entry = Entry(cell.name, mark, node, pid, start, end, interrupted)
        with (log / "log").open("a") as file:
            file.write(json.dumps({"key": f"{pid}-{start}", **vars(entry)}) + "\n")

    before = sum((entry.cell, entry.mark) == (cell.name, mark) for entry in entries(log))
    note(None)
    word, seconds = _of_this_time(options["end"], before, "passed"), _of_this_time(options["seconds"], before, "0")
    try:
        if word == "kill_waiting":
            os.kill(parent_of(os.getppid()), signal.SIGKILL)
            time.sleep(60)
        time.sleep(float(seconds))
        patience = time.monotonic() + PATIENCE_S / 4
        while time.monotonic() < patience and len(_beside(log, node, start)) < int(options["meet"]):
            time.sleep(0.05)
    except KeyboardInterrupt:
        note(time.monotonic(), interrupted=True)
        raise
    if word == "raise":
        raise OSError("there is no room left.")
    if word == "crash":
        os.kill(pid, signal.SIGKILL)
    (folder / "made").write_text(cell.name)
    note(time.monotonic())
    code = EXIT_CODES[word]
    return CellResult(
        cell=cell,
        digest=cell.digest(),
        status=word if code in (0, 4) else "error",  # type: ignore[arg-type]
        exit_code=code,
        code=None if word == "passed" else word,
        message=None if word == "passed" else f"It ended as {word}.",
        hint=None,
        command=None,
        artifact=exported(path=folder / "made", size_bytes=7),
        profile=None,
        evaluation=None,
        seconds=float(seconds),
    )
