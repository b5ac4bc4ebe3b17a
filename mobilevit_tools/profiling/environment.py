"""What else a latency depends on: the CPU, its governor, and who else was using it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_STAT = Path("/proc/stat")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

BUSY_SHARE = 0.1
"""From this share of the machine's capacity on, other processes make a measurement doubtful."""


@dataclass(frozen=True)
class HostInfo:
    """The machine during a measurement.

    Attributes:
        cpu: The CPU's name.
        cores: Logical cores.
        system: The operating system.
        load_before: The load average of the minute before; None where the system has none.
        load_after: The load average of the last minute of the measurement, which includes the measurement itself.
        others_cores: Cores that other processes kept busy during the measurement; None where the system does not tell.
        governor: The frequency governor; None where it cannot be read.
        versions: Versions of what ran, by package.
    """

    cpu: str
    cores: int
    system: str
    load_before: float | None
    load_after: float | None
    others_cores: float | None
    governor: str | None
    versions: Mapping[str, str]


class LoadMeter:
    """Watches who uses the machine, from its creation to :meth:`host_info`."""

    def __init__(self) -> None:
        self._load_before = load_average()
        self._busy_before = busy_seconds()
        self._started = time.perf_counter()

    def host_info(self, own_seconds: float | None, versions: Mapping[str, str]) -> HostInfo:
        """Describe the machine; ``own_seconds`` is the CPU time that the measured process itself took, where known."""
        return HostInfo(
            cpu=cpu_name(),
            cores=os.cpu_count() or 1,
            system=platform.platform(),
            load_before=self._load_before,
            load_after=load_average(),
            others_cores=None if own_seconds is None else self.others_cores(own_seconds),
            governor=governor(),
            versions=versions,
        )

    def others_cores(self, own_seconds: float) -> float | None:
        """Return how many cores others kept busy so far; None where the system does not tell.

        Args:
            own_seconds: CPU time that is not theirs.
        """
        busy = busy_seconds()
        if busy is None or self._busy_before is None:
            return None
        return max(0.0, busy - self._busy_before - own_seconds) / (time.perf_counter() - self._started)


def is_busy(host: HostInfo, threads: int) -> bool:
    """Tell whether other processes competed with a measurement on ``threads`` threads."""
    if host.others_cores is not None:
        return host.others_cores > BUSY_SHARE * host.cores
    return host.load_before is not None and host.load_before > host.cores - threads + BUSY_SHARE * host.cores


def cpu_name() -> str:
    """Return the CPU's name as the system knows it."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
        return found or platform.machine()
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def governor() -> str | None:
    """Return the frequency governor of the first core, or None where it cannot be read."""
    try:
        return _GOVERNOR.read_text().strip() or None
    except OSError:
        return None


def load_average() -> float | None:
    """Return the load average of the last minute, or None where the system has none."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def busy_seconds() -> float | None:
    """Return the seconds that all cores together have been busy since the start, or None where unknown.

    Time that a hypervisor gave to other machines counts as busy: it was not there for us.
    """
    try:
        fields = _STAT.read_text().splitlines()[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
