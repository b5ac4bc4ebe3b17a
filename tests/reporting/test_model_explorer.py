"""Model Explorer opens the delegation of an artifact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mobilevit_tools.reporting.model_explorer import MAX_NODES, graph_collection
from mobilevit_tools.runtimes.pieces import Piece
from tests.reporting.conftest import HOSTILE

PIECES = (
    Piece(True, {"conv": 2}, 1_500_000),
    Piece(False, {HOSTILE: 3, "a\x00b": 1}, None, (0,)),
    Piece(True, {"linear": 1}, 100, (0, 1, 7)),
)


def written(*pieces: Piece) -> dict[str, Any]:
    found = json.loads(graph_collection(pieces, "model\x00.pte", "onnx"))
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


def test_it_is_a_collection_as_model_explorer_defines_it() -> None:
    builder = pytest.importorskip("model_explorer", reason="pip install ai-edge-model-explorer").graph_builder
    dacite = pytest.importorskip("dacite")
    found = dacite.from_dict(builder.GraphCollection, written(*PIECES), dacite.Config(strict=True))
    assert [len(graph.nodes) for graph in found.graphs] == [3]
