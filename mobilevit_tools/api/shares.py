"""Which targets of one export convert in which process, and how many processes this machine has the means for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mobilevit_tools.profiling.environment import LoadMeter, load_average
from mobilevit_tools.profiling.resident import peak_bytes
from mobilevit_tools.targets.registry import find_target

STARTING = 7.0
"""What every process does before it converts, in the unit of :attr:`~mobilevit_tools.targets._base.Target.effort`."""
NEAR_ENOUGH = 1.15
"""More processes than these are not worth their memory: all targets take so much longer than the slowest alone."""
IDLE_SHARE = 0.7
"""From this share on, a core that is idle now is taken for free."""
GROWTH = 3
"""How much larger a process becomes while it converts than it is when it has loaded the model."""
POSSIBLE = sys.platform != "win32"
"""Whether another process can be given a pipe and interrupted, as :mod:`~mobilevit_tools.api.elsewhere` does."""
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def shared_out(targets: Sequence[str], processes: int) -> tuple[tuple[int, ...], ...]:
    """Return which of the targets each process converts, the one with the most work first.

    Args:
        targets: Their names.
        processes: The most processes that there may be; fewer where more would end hardly sooner.
    """
    efforts = [find_target(name).effort for name in targets]
    enough = NEAR_ENOUGH * (STARTING + max(efforts))
    shares: tuple[tuple[int, ...], ...] = ()
    for count in range(1, max(1, min(processes, len(efforts))) + 1):
        shares = _balanced(efforts, count)
        if STARTING + sum(efforts[index] for index in shares[0]) <= enough:
            break
    return shares


def _balanced(efforts: Sequence[float], count: int) -> tuple[tuple[int, ...], ...]:
    shares: list[list[int]] = [[] for _ in range(count)]

    def effort(share: Sequence[int]) -> float:
        return sum(efforts[index] for index in share)

    for index in sorted(range(len(efforts)), key=lambda each: -efforts[each]):
        min(shares, key=effort).append(index)
    return tuple(tuple(sorted(share)) for share in sorted(shares, key=effort, reverse=True))


class Machine:
    """Watches who else uses the machine, from its creation on."""

    def __init__(self) -> None:
        self._meter = LoadMeter()
        self._own = _own_seconds()

    def processes(self) -> int:
        """Return how many processes as large as this one the machine has idle cores and memory for, this one included.

        One where it has none to spare, or does not tell.
        """
        return max(1, min(self._cores(), _as_many_as_fit()))

    def _cores(self) -> int:
        cores = os.cpu_count() or 1
        others = self._meter.others_cores(_own_seconds() - self._own)
        if others is None:
            others = load_average()
        if others is None:
            return 1
        idle = int(cores - others + 1 - IDLE_SHARE)
        return min(idle, _allowed_cores(cores))


def _own_seconds() -> float:
    return sum(os.times()[:4])


def _allowed_cores(cores: int) -> int:
    """Return how many cores this process may use: by its affinity, and by its control group's quota."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    quota, _, period = (_text(_CGROUP / "cpu.max") or "").partition(" ")
    return min(cores, int(quota) // int(period)) if quota.isdigit() and period.isdigit() else cores


def _as_many_as_fit() -> int:
    """Return how many processes like this one fit into the memory that is free, with what they are to grow by."""
    each = GROWTH * peak_bytes()
    free = _free_bytes()
    return 1 + (free - (each - peak_bytes())) // each


def _free_bytes() -> int:
    fields = dict(line.split(":", 1) for line in (_text(_MEMINFO) or "").splitlines())
    if "MemAvailable" not in fields:  # of a system that does not tell, half is taken for free
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = _text(_CGROUP / "memory.max") or "", _text(_CGROUP / "memory.current") or ""
    if not (limit.isdigit() and used.isdigit()):
        return free
    stat = dict(line.split(" ", 1) for line in (_text(_CGROUP / "memory.stat") or "").splitlines())
    return min(free, int(limit) - int(used) + int(stat.get("inactive_file", 0)))


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
