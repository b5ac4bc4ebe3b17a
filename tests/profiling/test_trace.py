"""A trace lays the operators one behind the other, in microseconds, and none inside another."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.profiling.trace import trace_of


def events_of(*operators: OperatorTime) -> list[dict[str, Any]]:
    found = json.loads(trace_of(operators, "host"))
    assert found["displayTimeUnit"] == "ns"  # Chrome's viewer nests what lies within one of these units
    return [event for event in found["traceEvents"] if event["ph"] == "X"]


def test_events_follow_each_other() -> None:
    events = events_of(OperatorTime("conv", "Convolution", 1.5, delegate=True), OperatorTime("add", "Add", 0.25))
    assert [(event["name"], event["ts"], event["dur"]) for event in events] == [
        ("conv", 0, 1500),
        ("add", 1500.001, 250),
    ]
    assert [event["cat"] for event in events] == ["delegate", "operator"]
    assert [event["args"] for event in events] == [{"kind": "Convolution", "ms": 1.5}, {"kind": "Add", "ms": 0.25}]


def test_no_operator_lies_in_another_even_where_its_time_is_zero_or_no_round_number() -> None:
    times = [0.1 / 3, 0.0, 0.0, 1e-7, 0.7 / 9, 12.3456789 / 7] * 50
    events = events_of(*(OperatorTime(f"op{place}", "Op", ms) for place, ms in enumerate(times)))
    assert len(events) == len(times)
    for before, after in pairwise(events):
        assert before["ts"] + before["dur"] < after["ts"]
        assert round(before["dur"], 3) == before["dur"] > 0
    assert abs(sum(event["dur"] for event in events) / 1e3 - sum(times)) < 1e-3


def test_a_call_lies_around_its_operators_and_around_no_other() -> None:
    inside = [OperatorTime(name, "Op", 0.1 / 3, delegate=True, call=call) for name, call in (("a", 1), ("b", 1))]
    events = events_of(*inside, OperatorTime("c", "Op", 0.0, delegate=True, call=2), OperatorTime("d", "Op", 0.5))
    spans = {event["name"]: (event["ts"], event["ts"] + event["dur"]) for event in events}
    assert [event["name"] for event in events] == ["Call 1, delegated", "a", "b", "Call 2, delegated", "c", "d"]
    for call, names in (("Call 1, delegated", "ab"), ("Call 2, delegated", "c")):
        start, end = spans[call]
        for name in "abcd":
            first, last = spans[name]
            assert (start < first and last < end) if name in names else (last < start or end < first)
