"""The graph of an artifact, for those who draw it and those who put times on it."""

from __future__ import annotations

from pathlib import Path

from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.reporting.graph import Node, nodes_of_pieces
from mobilevit_tools.runtimes._base import Session
from mobilevit_tools.runtimes.pieces import Piece
from mobilevit_tools.targets._base import Target, load


def pieces_of(session: Session, manifest: Manifest | None) -> tuple[Piece, ...]:
    """Return what the manifest tells, for it knows what is inside of calls, and else what the file itself tells."""
    stated = () if manifest is None or manifest.delegation is None else manifest.delegation.pieces
    return stated or session.pieces()


def nodes_of(artifact: Path, target: Target, pieces: tuple[Piece, ...]) -> tuple[Node, ...]:
    """Return an artifact's pieces as nodes or, where it has none, its operators.

    Raises:
        BadInputError: Its target reads neither.
    """
    if not pieces and target.graph_reader is not None:
        nodes: tuple[Node, ...] = load(target.graph_reader)(artifact)
        return nodes
    if not pieces:
        raise BadInputError(
            f"{artifact} has no graph that can be drawn: its runtime leaves nothing to a backend.",
            hint="Operators, inputs and outputs: mvt inspect ARTIFACT.",
            code="no_delegation",
        )
    return nodes_of_pieces(pieces)
