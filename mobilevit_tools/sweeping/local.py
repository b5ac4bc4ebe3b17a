"""The cells of a sweep on this machine: a few processes side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.sweeping.child import Child
from mobilevit_tools.sweeping.job import Job


def default_jobs() -> int:
    """Return how many cells run side by side unless somebody says: a converter keeps about two cores busy."""
    return max(1, (os.cpu_count() or 1) // 2)


class LocalWorkers:
    """Threads that each wait for the process of a cell."""

    def __init__(self, jobs: int) -> None:
        """Have room for ``jobs`` cells side by side."""
        self._jobs = jobs
        self._threads = ThreadPoolExecutor(jobs)
        self._running: dict[Future[CellResult], tuple[Job, Child]] = {}
        share = max(1, (os.cpu_count() or 1) // jobs)
        self._neighbourly = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(share))}

    def refusal(self, job: Job) -> CellResult | None:  # noqa: ARG002
        """Every cell can run here; whether its device is there shows when it runs."""
        return None

    def start(self, job: Job, *, alone: bool) -> bool:
        """Start a cell, if there is room for it now."""
        if len(self._running) >= (1 if alone else self._jobs):
            return False
        child = Child(job, {} if alone else self._neighbourly)
        self._running[self._threads.submit(child.result)] = (job, child)
        return True

    def wait(self) -> Sequence[tuple[Job, CellResult]]:
        """Wait until at least one cell has ended, and return those that have."""
        ended = wait(self._running, return_when=FIRST_COMPLETED).done
        return [(self._running.pop(future)[0], future.result()) for future in ended]

    def close(self) -> None:
        """Interrupt what still runs, and wait until it has ended."""
        for _, child in self._running.values():
            child.stop()
        self._threads.shutdown()
