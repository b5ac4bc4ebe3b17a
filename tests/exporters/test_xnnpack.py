"""Operators share a call as long as nothing outside lies between them."""

from __future__ import annotations

from torch.fx import Graph

from mobilevit_tools.exporters.xnnpack import levels


def test_what_comes_back_after_a_departure_is_another_level() -> None:
    graph = Graph()
    x = graph.placeholder("x")
    a, b = graph.call_function(abs, (x,)), graph.call_function(abs, (x,))
    outside = graph.call_function(abs, (a,))
    back = graph.call_function(max, (outside, b))
    beside = graph.call_function(max, (a, b))
    assert levels(graph, [[a], [b], [back], [beside], [x]]) == [0, 0, 1, 0, 0]


def test_a_unit_is_as_late_as_its_latest_node() -> None:
    graph = Graph()
    x = graph.placeholder("x")
    a = graph.call_function(abs, (x,))
    early = graph.call_function(abs, (a,))
    between = graph.call_function(abs, (early,))
    after = graph.call_function(abs, (early,))
    late = graph.call_function(abs, (graph.call_function(abs, (a,)),))
    # ``early`` stays with ``late``, and so what reads it comes later, too.
    assert levels(graph, [[a], [early, late], [after], [graph.call_function(abs, (between,))]]) == [0, 1, 1, 2]
