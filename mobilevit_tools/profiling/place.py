"""Where a measurement was taken: only measurements of one place can be compared."""

from __future__ import annotations

from dataclasses import dataclass

from mobilevit_tools.profiling.result import PROGRAM, ProfileResult

EMULATED = ("count", "arm64", "htp", PROGRAM)
"""The devices that only imitate the hardware, or where nothing runs: they have no latency, whatever a file says."""


@dataclass(frozen=True, order=True)
class Place:
    """Where measurements can be compared with each other, and with no others.

    Attributes:
        device: The device in its own words. Those of ``count`` say what the count depends on, which is less than a CPU:
            the architecture, and the features by which the runtimes choose their kernels.
        cpu: The CPU of the measuring machine; empty where the device is another one, or only imitates the hardware.
        system: Its operating system; likewise.
        cores: Its logical cores; 0 likewise.
        threads: Threads of one inference.
    """

    device: str
    cpu: str
    system: str
    cores: int
    threads: int

    @property
    def emulated(self) -> bool:
        """Whether it has no latency."""
        return self.device.partition(":")[0] in EMULATED

    @property
    def title(self) -> str:
        """Its name for people."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return ", ".join(part for part in (self.device, self.cpu, threads) if part)


def place_of(profile: ProfileResult) -> Place:
    """Return where a measurement was taken."""
    host = profile.host
    if host is None:
        return Place(profile.device, "", "", 0, profile.threads)
    return Place(profile.device, host.cpu, host.system, host.cores, profile.threads)
