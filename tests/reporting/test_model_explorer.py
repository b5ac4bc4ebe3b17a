"""Model Explorer opens the graph of an artifact, and times over it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mobilevit_tools.reporting.graph import nodes_of_pieces
from mobilevit_tools.reporting.model_explorer import MAX_NODES, graph_collection, node_data
from mobilevit_tools.runtimes.pieces import Piece
from tests.reporting.conftest import HOSTILE

PIECES = (
    Piece(True, {"conv": 2}, 1_500_000),
    Piece(False, {HOSTILE: 3, "a\x00b": 1}, None, (0,)),
    Piece(True, {"linear": 1}, 100, (0, 1, 7)),
)


def written(*pieces: Piece) -> dict[str, Any]:
    found = json.loads(graph_collection(nodes_of_pieces(pieces), "model\x00.pte", "onnx"))
    assert isinstance(found, dict)
    return found


def test_pieces_are_nodes_and_what_they_read_are_edges() -> None:
    (graph,) = written(*PIECES)["graphs"]
    assert [node["label"] for node in graph["nodes"]] == ["Call 1, delegated", "Not delegated", "Call 2, delegated"]
    assert [[edge["sourceNodeId"] for edge in node["incomingEdges"]] for node in graph["nodes"]] == [
        [],
        ["0"],
        ["0", "1"],
    ]
    attributes = [{each["key"]: each["value"] for each in node["attrs"]} for node in graph["nodes"]]
    assert attributes[0] == {"MACs": "1,500,000", "conv": "2"}
    assert attributes[1] == {HOSTILE: "3", "a\N{REPLACEMENT CHARACTER}b": "1"}
    colours = [node["style"]["backgroundColor"] for node in graph["nodes"]]
    assert colours[0] == colours[2] != colours[1]


def test_a_graph_has_an_end() -> None:
    (graph,) = written(*[Piece(False, {"a": 1})] * (MAX_NODES + 1))["graphs"]
    assert len(graph["nodes"]) == MAX_NODES
    assert list(json.loads(node_data({0: 1.0, MAX_NODES: 1.0}, 2.0, "host"))["delegation"]["results"]) == ["0"]


def test_times_are_values_of_the_nodes_of_the_graph() -> None:
    (graph,) = written(*PIECES)["graphs"]
    stated = json.loads(node_data({0: 1.5, 1: 0.25}, 1.75, "a phone\x00"))
    assert list(stated) == [graph["id"]]
    times = stated[graph["id"]]
    assert times["results"] == {"0": {"value": 1.5}, "1": {"value": 0.25}}
    assert set(times["results"]) <= {node["id"] for node in graph["nodes"]}
    assert times["name"] == "ms on a phone\N{REPLACEMENT CHARACTER}"
    assert [each["stop"] for each in times["gradient"]] == [0, 1]


def test_the_share_of_the_time_that_is_not_on_the_graph_is_told() -> None:
    assert json.loads(node_data({0: 1.5}, 2.0, "host"))["delegation"]["name"] == "ms on host, 75% of the time"


def test_they_are_a_collection_and_node_data_as_model_explorer_defines_them() -> None:
    explorer = pytest.importorskip("model_explorer", reason="pip install ai-edge-model-explorer")
    dacite = pytest.importorskip("dacite")
    strict = dacite.Config(strict=True)
    found = dacite.from_dict(explorer.graph_builder.GraphCollection, written(*PIECES), strict)
    assert [len(graph.nodes) for graph in found.graphs] == [3]
    stated = json.loads(node_data({0: 1.5}, 1.5, "host"))[found.graphs[0].id]
    times = dacite.from_dict(explorer.node_data_builder.GraphNodeData, stated, strict)
    assert times.results[found.graphs[0].nodes[0].id].value == 1.5
