"""Which cell runs when: what measures time gets its device, or its machine, for itself; faults get a second chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mobilevit_tools.errors import ExitCode
from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.sweeping.job import Job

ATTEMPTS = 2
_LASTING = (ExitCode.USAGE, ExitCode.BAD_INPUT, ExitCode.MISSING_DEPENDENCY)
"""Exit codes of errors that a second attempt meets again."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell.

    Attributes:
        kind: ``started``; ``again``: a fault, and the cell gets another attempt; ``finished``.
        job: The cell.
        result: What came of it; None where it has just started.
    """

    kind: Literal["started", "again", "finished"]
    job: Job
    result: CellResult | None = None


Watch = Callable[[Event], None]


class Workers(Protocol):
    """Where cells run: the processes of this machine, or a cluster."""

    def refusal(self, job: Job) -> CellResult | None:
        """Return the error of a cell that cannot run here at all, or None."""

    def start(self, job: Job, *, alone: bool) -> bool:
        """Start a cell, if there is room for it now; ``alone``: on a machine where nothing else runs meanwhile."""

    def wait(self) -> Sequence[tuple[Job, CellResult]]:
        """Wait until something has changed, and return the cells that ended."""

    def close(self) -> None:
        """End everything that still runs."""


def run_jobs(jobs: Sequence[Job], workers: Workers, *, allow_contention: bool, watch: Watch) -> Iterator[CellResult]:
    """Run every cell and yield its result as soon as it is final.

    Cells whose time is measured on the machine that runs them come last, each alone on its machine; everything else
    runs side by side, one cell a device.

    Args:
        jobs: The cells.
        workers: Where they run.
        allow_contention: Run the cells that measure time beside the others.
        watch: Told of everything that happens.
    """
    for alone in (False, True):
        phase = [job for job in jobs if (job.needs.alone and not allow_contention) == alone]
        yield from _run_phase(phase, workers, alone=alone, watch=watch)


def _run_phase(jobs: Sequence[Job], workers: Workers, *, alone: bool, watch: Watch) -> Iterator[CellResult]:
    waiting = list(jobs)
    running: list[Job] = []
    attempts: Counter[str] = Counter()
    while waiting or running:
        for job in tuple(waiting):
            refused = workers.refusal(job)
            if refused is not None:
                waiting.remove(job)
                watch(Event("finished", job, refused))
                yield refused
            elif _is_free(job, running) and workers.start(job, alone=alone):
                waiting.remove(job)
                running.append(job)
                attempts[job.digest] += 1
                watch(Event("started", job))
        for job, result in workers.wait():
            running.remove(job)
            again = _may_pass(result) and attempts[job.digest] < ATTEMPTS
            watch(Event("again" if again else "finished", job, result))
            if again:
                waiting.append(job)
            else:
                yield result


def _is_free(job: Job, running: Sequence[Job]) -> bool:
    return job.needs.device is None or all(job.needs.device != other.needs.device for other in running)


def _may_pass(result: CellResult) -> bool:
    """Tell whether a second attempt may end otherwise: after a crash, a hang or a fault of a device."""
    return result.status == "error" and result.exit_code not in _LASTING
