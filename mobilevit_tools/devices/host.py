"""`host`: the native runner on this machine as it is."""

from __future__ import annotations

from mobilevit_tools.devices import runner, toolchain
from mobilevit_tools.devices._base import Readiness
from mobilevit_tools.devices.local import LocalDevice
from mobilevit_tools.errors import UsageError


class HostDevice(LocalDevice):
    """This machine. Its probe is about the runtimes in this process, which need no runner."""

    is_this_machine = True

    def arch(self) -> str:
        """This machine's architecture."""
        return toolchain.host_arch()

    def start(self, program: runner.Program) -> list[str]:
        """The runner itself."""
        return program.command(".")

    def probe(self) -> Readiness:
        """Ready wherever mvt runs."""
        return Readiness(self.name, ready=True, detail="This host, with in-process runtimes.")


def open_device(argument: str | None) -> HostDevice:
    """Return this machine.

    Raises:
        UsageError: ``argument`` is not None.
    """
    if argument is not None:
        raise UsageError("host takes no argument.", hint="Use --device host.")
    return HostDevice("host")


def probe() -> tuple[Readiness, ...]:
    """Tell that the host is ready."""
    return (HostDevice("host").probe(),)
