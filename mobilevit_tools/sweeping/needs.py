"""What a cell needs for itself while it runs: a device, or a machine on which nothing else is going on."""

from __future__ import annotations

import socket
from dataclasses import dataclass

_UNTIMED = ("count", "arm64", "htp")
"""Kinds of device that count or emulate: what else the machine does changes nothing."""
_THIS_MACHINE = ("host", "browser")
"""Kinds of device that are the machine itself, and measure time on it."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Needs:
    """What a cell occupies.

    Attributes:
        device: The one thing that no two cells may use at once; None where it uses none.
        alone: Whether time is measured on the very machine that runs the cell, so that nothing else may run there.
    """

    device: str | None
    alone: bool

    @property
    def timed(self) -> bool:
        """Whether the device measures time, and so is somebody's own: a phone, a board, or a whole machine."""
        return self.alone or self.device is not None


def needs_of(device: str | None) -> Needs:
    """Tell what a cell with this ``--device`` occupies.

    An emulator and a board that are reached over this machine's own loopback are this machine.
    """
    kind, _, argument = (device or "").partition(":")
    if device is None or kind in _UNTIMED:
        return Needs(None, alone=False)
    if kind in _THIS_MACHINE:
        return Needs(None, alone=True)
    if kind == "ssh":
        host = _ssh_host(argument)
        return Needs(f"ssh:{host}", alone=host in {*_LOOPBACK, socket.gethostname().lower()})
    on_loopback = argument.startswith(("emulator-", *(f"{name}:" for name in _LOOPBACK)))
    return Needs(device, alone=kind == "adb" and on_loopback)


def same_device(one: str, other: str) -> bool:
    """Tell whether two ``--device`` values that are spelled differently may be the same device.

    ``adb`` is the only phone that is attached, whatever its serial is; a board is one whoever logs in.
    """
    if one == other:
        return False
    if one.partition(":")[0] == other.partition(":")[0] and not (":" in one and ":" in other):
        return needs_of(one).timed
    needs = needs_of(one)
    return needs.device is not None and needs.device == needs_of(other).device


def _ssh_host(argument: str) -> str:
    """Return the host of ``USER@HOST[:PORT]``."""
    host = argument.rpartition("@")[2].lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
