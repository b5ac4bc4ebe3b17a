"""Operator times as a trace that Chrome's trace viewer and Perfetto open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from mobilevit_tools.devices import OperatorTime

_GAP_US = 1e-3
"""Space between events: without it, rounding makes viewers nest an operator in the one before it."""


def trace_of(operators: Sequence[OperatorTime], device: str) -> str:
    """Return one inference as complete events in order of execution, calls into a delegate around their operators.

    Times are in microseconds, with a resolution of a nanosecond. ``args`` has the exact ones.
    """
    events: list[dict[str, object]] = [
        {"ph": "M", "pid": 1, "tid": 1, "name": "process_name", "args": {"name": device}},
    ]
    at = 0.0
    for call, inside in groupby(operators, lambda operator: operator.call):
        start, place = at, len(events)
        at += _GAP_US * (call is not None)
        for operator in inside:
            microseconds = max(round(operator.ms * 1e3, 3), _GAP_US)
            args = {"kind": operator.kind, "ms": operator.ms}
            events.append(_event(operator.name, at, microseconds, delegated=operator.delegate, args=args))
            at += microseconds + _GAP_US
        if call is not None:
            events.insert(place, _event(f"Call {call}, delegated", start, at - start, delegated=True, args={}))
            at += _GAP_US
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})


def _event(name: str, start: float, duration: float, *, delegated: bool, args: dict[str, object]) -> dict[str, object]:
    return {
        "ph": "X",
        "pid": 1,
        "tid": 1,
        "ts": round(start, 3),
        "dur": round(duration, 3),
        "name": name,
        "cat": "delegate" if delegated else "operator",
        "args": args,
    }
