"""A trace lays the operators one behind the other, in microseconds."""

from __future__ import annotations

import json

from mobilevit_tools.devices import OperatorTime
from mobilevit_tools.profiling.trace import trace_of


def test_events_follow_each_other() -> None:
    operators = [OperatorTime("conv", "Convolution", 1.5, delegate=True), OperatorTime("add", "Add", 0.25)]
    events = [event for event in json.loads(trace_of(operators, "host"))["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"]) for event in events] == [("conv", 0, 1500), ("add", 1500, 250)]
    assert [event["cat"] for event in events] == ["delegate", "operator"]
