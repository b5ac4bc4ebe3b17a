"""The delegation of one artifact as a figure: its calls and what runs between them, from top to bottom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilevit_tools.documents import printable
from mobilevit_tools.reporting.figures import PALETTE
from mobilevit_tools.reporting.plots import WIDTH, colour, short
from mobilevit_tools.runtimes.pieces import Piece

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PIECES = 48
"""A figure shows the first of an artifact's pieces up to here, and counts the others."""
MAX_TYPES = {True: 6, False: 10}
"""How many operator types a piece names: inside a call, where they are no trouble, and outside."""

_COLUMNS = 2
_NAME_CHARACTERS = 26
_LINE, _HEAD, _PAD, _GAP = 0.17, 0.2, 0.06, 0.18
_LEFT, _RIGHT = 0.06, 4.42
_LANES, _LANE = 6, 0.07
_SPELLING = re.compile(r"^aten(?:::|\.)|\.(?:default|out)$")


@dataclass(frozen=True)
class _Block:
    """A piece and where it stands, in inches from the figure's top."""

    piece: Piece
    title: str
    lines: tuple[tuple[str, ...], ...]
    top: float

    @property
    def bottom(self) -> float:
        return self.top + 2 * _PAD + _HEAD + _LINE * len(self.lines)


def graph_plot(pieces: Sequence[Piece], deployment: str) -> Figure:
    """Draw calls filled and what runs outside hatched; lines at the side lead past other pieces."""
    from matplotlib.figure import Figure

    blocks = _blocks(pieces)
    left_out = pieces[len(blocks) :]
    inches = blocks[-1].bottom + (_GAP + _LINE if left_out else 0) + _PAD
    figure = Figure(figsize=(WIDTH, inches))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(inches, 0)
    axes.axis("off")
    for place, block in enumerate(blocks):
        _draw(axes, block, colour(deployment))
        if place:
            _arrow(axes, blocks[place - 1].bottom, block.top)
    _draw_detours(axes, blocks)
    if left_out:
        calls = sum(piece.delegated for piece in left_out)
        text = f"and {len(left_out)} more pieces, {calls} of them delegated"
        axes.text(_LEFT, blocks[-1].bottom + _GAP, text, va="top", color=PALETTE["muted"])
    return figure


def _blocks(pieces: Sequence[Piece]) -> list[_Block]:
    total = sum(piece.macs or 0 for piece in pieces)
    found: list[_Block] = []
    calls = 0
    for piece in pieces[:MAX_PIECES]:
        calls += piece.delegated
        title = f"Call {calls}, delegated" if piece.delegated else "Not delegated"
        top = found[-1].bottom + _GAP if found else _PAD
        found.append(_Block(piece, f"{title}{_facts(piece, total)}", _lines(piece), top))
    return found


def _facts(piece: Piece, total: int) -> str:
    count = sum(piece.operators.values())
    parts = [f"{count} operator{'s' if count != 1 else ''}"] if count else []
    if piece.macs is not None:
        share = f" ({piece.macs / total:.1%})" if total else ""
        parts.append(f"{piece.macs / 1e6:,.1f} M MACs{share}" if piece.macs else "no MACs")
    return "".join(f", {part}" for part in parts)


def _lines(piece: Piece) -> tuple[tuple[str, ...], ...]:
    """Return the operator types of a piece, the most frequent first, in rows."""
    if not piece.operators:
        return (("its operators are not known",),)
    most = MAX_TYPES[piece.delegated]
    names = _shown(piece.operators)
    cells = [f"{name} \N{MULTIPLICATION SIGN} {count}" for name, count in names[:most]]
    if len(names) > most:
        cells[-1] = f"and {len(names) - most + 1} other types"
    return tuple(tuple(cells[start : start + _COLUMNS]) for start in range(0, len(cells), _COLUMNS))


def _shown(operators: Mapping[str, int]) -> list[tuple[str, int]]:
    ordered = sorted(operators.items(), key=lambda each: (-each[1], each[0]))
    return [(short(printable(_SPELLING.sub("", name)), _NAME_CHARACTERS), count) for name, count in ordered]


def _draw(axes: Axes, block: _Block, paint: str) -> None:
    from matplotlib.patches import Rectangle

    inside = block.piece.delegated
    size = (_RIGHT - _LEFT, block.bottom - block.top)
    if inside:
        axes.add_patch(Rectangle((_LEFT, block.top), *size, facecolor=paint, alpha=0.16, linewidth=0))
    else:  # a hatched edge, and no hatching behind the words
        band = (0.14, size[1])
        axes.add_patch(Rectangle((_LEFT, block.top), *band, facecolor="none", edgecolor=paint, hatch="//////", lw=0.6))
    axes.add_patch(Rectangle((_LEFT, block.top), *size, facecolor="none", edgecolor=paint, linewidth=1.0))
    at = block.top + _PAD
    axes.text(_LEFT + 0.22, at, block.title, va="top", fontweight="bold", fontsize=9)
    for row, cells in enumerate(block.lines):
        for column, text in enumerate(cells):
            x = _LEFT + 0.22 + column * (_RIGHT - _LEFT) / _COLUMNS
            axes.text(x, at + _HEAD + row * _LINE, text, va="top", fontsize=8.5, color=PALETTE["muted"])


def _arrow(axes: Axes, top: float, bottom: float) -> None:
    middle = (_LEFT + _RIGHT) / 2
    axes.plot([middle, middle], [top, bottom], color=PALETTE["muted"], linewidth=1)
    axes.plot(
        [middle - 0.05, middle, middle + 0.05],
        [bottom - 0.06, bottom, bottom - 0.06],
        color=PALETTE["muted"],
        linewidth=1,
    )


def _draw_detours(axes: Axes, blocks: Sequence[_Block]) -> None:
    """Draw the values that skip pieces, each in the first lane at the side that is free there."""
    lanes: list[int] = []  # the last piece that each lane leads to
    detours = [(source, place) for place, block in enumerate(blocks) for source in block.piece.reads]
    for source, place in sorted((source, place) for source, place in detours if source < place - 1):
        lane = next((lane for lane, last in enumerate(lanes) if last <= source), len(lanes))
        if lane == _LANES:  # all are taken: this one shares the outermost
            lane -= 1
        lanes[lane : lane + 1] = [place]
        x = _RIGHT + _LANE * (lane + 1)
        start, end = blocks[source].bottom - _PAD, blocks[place].top + _PAD
        axes.plot([_RIGHT, x, x, _RIGHT], [start, start, end, end], color=PALETTE["muted"], linewidth=0.8)
        axes.plot([_RIGHT + 0.05, _RIGHT, _RIGHT + 0.05], [end - 0.04, end, end + 0.04], color=PALETTE["muted"], lw=0.8)
