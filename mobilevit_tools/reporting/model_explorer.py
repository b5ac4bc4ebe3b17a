"""The graph of one artifact, and operator times over it, as Model Explorer opens them.

The graph is a collection of graphs as Model Explorer's "JSON" loader reads it
(https://github.com/google-ai-edge/model-explorer/wiki/6.-Develop-Adapter-Extension), the times are its node data
(https://github.com/google-ai-edge/model-explorer/wiki/2.-User-Guide#custom-node-data).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mobilevit_tools.documents import printable
from mobilevit_tools.reporting.figures import PALETTE
from mobilevit_tools.reporting.graph import Node
from mobilevit_tools.reporting.plots import colour

MAX_NODES = 5_000
"""A graph holds the first of an artifact's nodes up to here."""

_GRAPH = "delegation"
_SLOWEST = "#f2a097"
_ALL = 0.995


def graph_collection(nodes: Sequence[Node], label: str, deployment: str) -> bytes:
    """Return a graph of an artifact's nodes: what a backend runs is filled.

    Args:
        nodes: The nodes, in order of execution.
        label: What the graph is called.
        deployment: The target with its backend, which has a colour.
    """
    paint = colour(deployment)
    drawn = [
        {
            "id": str(place),
            "label": printable(node.label),
            "namespace": printable(node.layer),
            "attrs": [{"key": printable(key), "value": printable(text)} for key, text in node.attributes.items()],
            "incomingEdges": [{"sourceNodeId": str(source)} for source in node.reads if source < place],
            "style": {
                "backgroundColor": _pale(paint) if node.delegated else PALETTE["surface"],
                "borderColor": paint,
            },
        }
        for place, node in enumerate(nodes[:MAX_NODES])
    ]
    return _document({"label": printable(label), "graphs": [{"id": _GRAPH, "nodes": drawn}]})


def node_data(times: Mapping[int, float], total: float, device: str) -> bytes:
    """Return the milliseconds of nodes as colours over the graph, from white to the slowest.

    Args:
        times: Milliseconds of each node by its place, as :func:`mobilevit_tools.reporting.graph.times_of` gives them.
        total: Milliseconds of all operators: a runtime adds some that belong to no node.
        device: Where they were measured.
    """
    shown = {place: ms for place, ms in times.items() if place < MAX_NODES}
    share = sum(shown.values()) / total if total else 1.0
    name = f"ms on {device}" + ("" if share > _ALL else f", {share:.0%} of the time")
    results = {str(place): {"value": round(ms, 6)} for place, ms in shown.items()}
    gradient = [{"stop": 0, "bgColor": PALETTE["surface"]}, {"stop": 1, "bgColor": _SLOWEST}]
    return _document({_GRAPH: {"name": printable(name), "results": results, "gradient": gradient}})


def _document(content: object) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _pale(paint: str) -> str:
    """Mix a colour such as ``#2b6cd4`` with white, so that dark letters can be read on it."""
    parts = (int(paint[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - part) // 6:02x}" for part in parts)
