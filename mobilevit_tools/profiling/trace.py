"""Operator times as a trace that Chrome's trace viewer and Perfetto open."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mobilevit_tools.devices import OperatorTime


def trace_of(operators: Sequence[OperatorTime], device: str) -> str:
    """Return one inference as complete events, the operators one behind the other in order of execution."""
    events: list[dict[str, object]] = [
        {"ph": "M", "pid": 1, "tid": 1, "name": "process_name", "args": {"name": device}},
    ]
    at = 0.0
    for operator in operators:
        microseconds = operator.ms * 1e3
        events.append(
            {
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": at,
                "dur": microseconds,
                "name": operator.name,
                "cat": "delegate" if operator.delegate else "operator",
                "args": {"kind": operator.kind},
            }
        )
        at += microseconds
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
