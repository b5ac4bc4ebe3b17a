"""From what a runtime recorded of several runs to the mean time of each operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mobilevit_tools.devices._base import OperatorTime
from mobilevit_tools.errors import DeviceError


def mean_times(profile: bytes, runs_of: Callable[[Any], list[list[OperatorTime]]]) -> tuple[OperatorTime, ...]:
    """Return the mean time of each operator over all runs but the first.

    Args:
        profile: What the runtime recorded, as JSON.
        runs_of: Takes the decoded JSON; returns each run's operators in their order.

    Raises:
        DeviceError: The profile is not readable, or holds no whole run.
    """
    try:
        complete = runs_of(json.loads(profile))[1:]  # the first run also packs weights and allocates
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise unreadable() from error
    if len({len(run) for run in complete}) != 1 or not complete[0]:
        raise unreadable()
    means = []
    for place in zip(*complete, strict=True):
        means.append(replace(place[0], ms=sum(operator.ms for operator in place) / len(place)))
    return tuple(means)


def unreadable() -> DeviceError:
    """Return the error that says so of an operator profile."""
    return DeviceError("The operator profile that the device returned is not readable.", code="bad_answer")
