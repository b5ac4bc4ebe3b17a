"""How LiteRT's profiler reports operator times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mobilevit_tools.devices._base import OperatorTime
from mobilevit_tools.devices.operator_times import mean_times

_OUTSIDE = 2
_INSIDE = (4, 8)
"""LiteRT's numbers of the events that are an operator of its own, and one of a delegate."""


def read_profile(path: Path) -> tuple[OperatorTime, ...]:
    """Read the events that the runner wrote: the mean time of each operator, those inside XNNPACK too.

    Raises:
        DeviceError: The profile is not readable, or holds no whole run.
    """
    return mean_times(path.read_bytes(), lambda runs: [_operators(run) for run in runs])


def _operators(events: Iterable[Mapping[str, Any]]) -> list[OperatorTime]:
    """Return one run's operators. XNNPACK numbers those of a call from 0, so that a lower number begins the next."""
    found: list[OperatorTime] = []
    seen: Counter[str] = Counter()
    call, last = 0, -1
    for event in events:
        if event["type"] not in {_OUTSIDE, *_INSIDE}:
            continue
        tag = str(event["tag"])
        seen[tag] += 1
        name, milliseconds = f"{tag} #{seen[tag]}", int(event["us"]) / 1e3
        if event["type"] == _OUTSIDE:
            found.append(OperatorTime(name, tag, milliseconds))
            continue
        node = int(event["node"])
        if node <= last or not call:
            call += 1
        last = node
        found.append(OperatorTime(name, tag.split(" (", maxsplit=1)[0], milliseconds, delegate=True, call=call))
    return found
