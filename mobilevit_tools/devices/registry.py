"""Every kind of device, as data only: importing this module imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import cast

from mobilevit_tools.devices._base import Device, Readiness
from mobilevit_tools.errors import UsageError
from mobilevit_tools.process_state import restoring
from mobilevit_tools.result import Result
from mobilevit_tools.targets.registry import targets_on


@dataclass(frozen=True)
class DeviceKind:
    """One kind of device.

    Attributes:
        module: Dotted path of a module with ``open_device(argument) -> Device`` and ``probe() -> tuple[Readiness]``.
        syntax: What to give to ``--device``.
        meaning: What its result means.
        gate: The precision whose gate is for artifacts of any precision there, because the device computes in an
            arithmetic of its own; None where it computes as the artifact says.
        lint: Dotted path of a function that tells of an artifact, without the device, what is known to go wrong on it.
        package: Dotted path of the optional package that it needs.
    """

    module: str
    syntax: str
    meaning: str
    gate: str | None = None
    lint: str | None = None
    package: str | None = None


DEVICES: Mapping[str, DeviceKind] = MappingProxyType(
    {
        "host": DeviceKind("mobilevit_tools.devices.host", "host", "latency on this machine"),
        "count": DeviceKind("mobilevit_tools.devices.count", "count", "exact instruction count; no latency"),
        "arm64": DeviceKind(
            "mobilevit_tools.devices.arm64", "arm64[:CPU]", "numerics of the aarch64 kernels; no latency"
        ),
        "adb": DeviceKind("mobilevit_tools.devices.adb", "adb[:SERIAL]", "CPU latency on an Android phone"),
        "ssh": DeviceKind(
            "mobilevit_tools.devices.ssh",
            "ssh:USER@HOST[:PORT]",
            "latency on a Linux board or a Mac",
        ),
        "browser": DeviceKind("mobilevit_tools.devices.browser", "browser", "latency in the browser (WebAssembly)"),
        "iphone": DeviceKind(
            "mobilevit_tools.devices.iphone", "iphone[:UDID]", "latency and compute units on an iPhone"
        ),
        "htp": DeviceKind(
            "mobilevit_tools.devices.htp",
            "htp[:CHIP]",
            "what Qualcomm's NPU takes, and its numerics; no latency",
            gate="int8",
            lint="mobilevit_tools.devices.htp_lint:lint",
            package="mobilevit_tools.devices.htp_package:PACKAGE",
        ),
    }
)


def find_kind(spec: str) -> DeviceKind:
    """Return the kind of device that a ``--device`` value names.

    Raises:
        UsageError: There is no such kind.
    """
    kind = spec.partition(":")[0]
    if kind not in DEVICES:
        near = get_close_matches(kind, DEVICES, n=1)
        raise UsageError(
            f"There is no device {spec!r}.",
            hint=f"Did you mean {near[0]}?" if near else f"Devices: {', '.join(d.syntax for d in DEVICES.values())}.",
            code="unknown_device",
        )
    return DEVICES[kind]


def targets_of(spec: str) -> tuple[str, ...]:
    """Return the targets whose artifacts the device of a ``--device`` value runs.

    Raises:
        UsageError: There is no such kind.
    """
    find_kind(spec)
    return targets_on(spec.partition(":")[0])


def open_device(spec: str) -> Device:
    """Return the device that a ``--device`` value names, without touching it yet.

    Raises:
        UsageError: There is no such kind of device, or its argument is malformed.
    """
    return cast("Device", import_module(find_kind(spec).module).open_device(spec.partition(":")[2] or None))


@dataclass(frozen=True)
class ListedDevice(Readiness):
    """A device and whether it is ready.

    Attributes:
        meaning: What its result means.
    """

    meaning: str = ""


@dataclass(frozen=True, repr=False)
class DeviceList(Result, command="devices"):
    """What `mvt devices` shows.

    Attributes:
        devices: Every kind of device; a kind with several devices at hand lists each.
    """

    devices: tuple[ListedDevice, ...]


@restoring
def probe_devices() -> DeviceList:
    """Tell of every kind of device whether it is ready.

    Example:
        >>> mvt.probe_devices().devices[0].device
        'host'
    """
    return DeviceList(
        tuple(
            ListedDevice(found.device, found.ready, found.detail, found.remedy, kind.meaning)
            for kind in DEVICES.values()
            for found in cast("tuple[Readiness, ...]", import_module(kind.module).probe())
        )
    )
