"""Run an artifact somewhere else: one native runner, many links to where it runs."""

from __future__ import annotations

from mobilevit_tools.devices._base import (
    Device,
    OperatorTime,
    Partitioning,
    Readiness,
    RunRequest,
    RunResult,
    Settling,
    Timing,
)
from mobilevit_tools.devices.registry import DEVICES, open_device, probe_devices

__all__ = [
    "DEVICES",
    "Device",
    "OperatorTime",
    "Partitioning",
    "Readiness",
    "RunRequest",
    "RunResult",
    "Settling",
    "Timing",
    "open_device",
    "probe_devices",
]
