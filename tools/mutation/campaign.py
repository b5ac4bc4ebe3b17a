"""Damage many files of one kind, and tell what came of them."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.mutation.kinds import KINDS
from tools.mutation.worker import make

PATIENCE_SECONDS = 60.0
STARTING_SECONDS = 600.0
"""A busy machine takes minutes to import a runtime, which says nothing of a file."""
ROOT = Path(__file__).parents[2]


@dataclass
class Tally:
    """What came of the damaged files of one kind.

    Attributes:
        kind: The kind.
        outcomes: How many were ``used``, ``refused``, or ended their process.
        faults: What was not one clear sentence, with the number of the file.
    """

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def run(kind: str, *, count: int, seed: int, exported: Path, checked: int | None = None) -> Tally:
    """Damage ``count`` files of one kind.

    Args:
        kind: The kind.
        count: How many.
        seed: Which.
        exported: The folder of one model's artifacts.
        checked: Where a file may end its reader: how many of those that did are given to ``mvt`` itself; None for all.
    """
    tally, first = Tally(kind), 0
    while first < count:
        ended = _batch(tally, kind, seed=seed, first=first, count=count, exported=exported)
        if ended is None:
            return tally
        number, how = ended
        tally.outcomes["ended its process"] += 1
        if not KINDS[kind].native:
            tally.faults.append(f"{kind} {number}: {how}")
        elif checked is None or tally.outcomes["ended its process"] <= checked:
            tally.faults += _by_mvt(kind, seed=seed, number=number, exported=exported)
        first = number + 1
    return tally


def _batch(tally: Tally, kind: str, *, seed: int, first: int, count: int, exported: Path) -> tuple[int, str] | None:
    """Feed one process until it is through, or one file ends it; return that one's number and how."""
    words = [kind, str(seed), str(first), str(count), str(exported)]
    command = [sys.executable, "-m", "tools.mutation.worker", *words]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
    ) as process:
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def read() -> None:
            for line in process.stdout or ():
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        started, how = None, ""
        while True:
            try:
                line = lines.get(timeout=STARTING_SECONDS if started is None else PATIENCE_SECONDS)
            except queue.Empty:
                process.kill()
                how = "hangs"
                break
            if line is None:
                break
            message = json.loads(line)
            if "starts" in message:
                started = message["starts"]
                continue
            started, outcome = None, message["outcome"]
            tally.outcomes[outcome.partition(":")[0]] += 1
            if outcome not in ("used", "refused"):
                tally.faults.append(f"{kind} {message['ended']}: {outcome}")
        code = process.wait()
    if started is None and code:
        raise RuntimeError(f"the worker for {kind} ended with {code} between two files")
    if started is None:
        return None
    return started, how or (f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}")


def _by_mvt(kind: str, *, seed: int, number: int, exported: Path) -> list[str]:
    """Give a file that ended its reader to the commands; return what was not one clear sentence."""
    with TemporaryDirectory() as folder:
        path, _ = make(kind, seed, number, KINDS[kind].make(Path(folder), exported), Path(folder))
        weights = KINDS["pth"].make(Path(folder), exported)[0]  # any will do: the file is not to get as far
        command = [sys.executable, "-m", "mobilevit_tools", "verify", path, "--checkpoint", weights, "--json"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    try:
        error = json.loads(ran.stdout)["error"]
    except (ValueError, KeyError):
        error = None
    if ran.returncode != 3 or not error:
        return [f"{kind} {number}: mvt verify ended with {ran.returncode}: {ran.stdout[:300]} {ran.stderr[-300:]}"]
    return []
