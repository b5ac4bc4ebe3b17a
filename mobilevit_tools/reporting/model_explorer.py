"""The delegation of one artifact as a graph that Model Explorer opens.

The file is a collection of graphs as its "JSON" loader reads them
(https://github.com/google-ai-edge/model-explorer/wiki/6.-Develop-Adapter-Extension).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mobilevit_tools.documents import printable
from mobilevit_tools.reporting.figures import PALETTE
from mobilevit_tools.reporting.plots import colour
from mobilevit_tools.runtimes.pieces import Piece

MAX_NODES = 5_000
"""A graph holds the first of an artifact's pieces up to here."""


def graph_collection(pieces: Sequence[Piece], label: str, deployment: str) -> bytes:
    """Return a graph with a node for each piece: calls are filled, and attributes hold operators and MACs.

    Args:
        pieces: The pieces, in order of execution.
        label: What the graph is called.
        deployment: The target with its backend, which has a colour.
    """
    calls, nodes = 0, []
    for place, piece in enumerate(pieces[:MAX_NODES]):
        calls += piece.delegated
        known = {} if piece.macs is None else {"MACs": f"{piece.macs:,}"}
        operators = {printable(name): f"{count:,}" for name, count in piece.operators.items()}
        nodes.append(
            {
                "id": str(place),
                "label": f"Call {calls}, delegated" if piece.delegated else "Not delegated",
                "namespace": "",
                "attrs": [{"key": key, "value": value} for key, value in {**known, **operators}.items()],
                "incomingEdges": [{"sourceNodeId": str(source)} for source in piece.reads if source < place],
                "style": {
                    "backgroundColor": _pale(colour(deployment)) if piece.delegated else PALETTE["surface"],
                    "borderColor": colour(deployment),
                },
            }
        )
    collection = {"label": printable(label), "graphs": [{"id": "delegation", "nodes": nodes}]}
    return (json.dumps(collection, indent=1) + "\n").encode()


def _pale(paint: str) -> str:
    """Mix a colour such as ``#2b6cd4`` with white, so that dark letters can be read on it."""
    parts = (int(paint[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - part) // 6:02x}" for part in parts)
