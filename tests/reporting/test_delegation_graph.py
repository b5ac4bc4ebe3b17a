"""The drawing of a delegation is bounded, and holds any name."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from mobilevit_tools.reporting.delegation_graph import MAX_PIECES, graph_plot
from mobilevit_tools.reporting.figures import figure_file, inline_svg, styled
from mobilevit_tools.runtimes.pieces import Piece
from tests.reporting.conftest import HOSTILE, Desk, draw, manifest

TIMES = "\N{MULTIPLICATION SIGN}"


def texts(*pieces: Piece) -> list[str]:
    with styled():
        written = figure_file(graph_plot(pieces, "onnx"), "svg")
    assert len(written) < 1_000_000
    return ["".join(each.itertext()) for each in ET.fromstring(written).iter() if each.tag.endswith("}text")]


def test_a_model_in_twelve_pieces_is_named_piece_by_piece() -> None:
    inside = {f"aten.kind{number}.default": 20 - number for number in range(9)}
    pieces = [
        Piece(
            number % 2 == 0, inside if number % 2 == 0 else {"aten::elu.out": 2}, 10**6, (number - 1,) if number else ()
        )
        for number in range(12)
    ]
    found = texts(*pieces)
    assert [each for each in found if each.startswith("Call")] == [
        f"Call {number}, delegated, 144 operators, 1.0 M MACs (8.3%)" for number in range(1, 7)
    ]
    assert found.count(f"elu {TIMES} 2") == 6
    assert found.count(f"kind0 {TIMES} 20") == found.count("and 4 other types") == 6
    assert f"kind5 {TIMES} 15" not in found


@pytest.mark.parametrize("name", [HOSTILE, "a\x00\x1b[31mb", "\ud800", "x" * 10_000, "", "$\\frac{"])
def test_any_name_can_be_drawn(name: str) -> None:
    pieces = (Piece(True, {name: 1}), Piece(False, {name: 3}, 0, (0,)))
    found = texts(*pieces)
    assert "Not delegated, 3 operators, no MACs" in found
    assert max(map(len, found)) < 60
    with styled():
        assert "<script" not in inline_svg(graph_plot(pieces, "onnx"), "graph", "title")


def test_a_drawing_has_an_end() -> None:
    many = [
        Piece(number % 2 == 0, {f"op{each}": 1 for each in range(99)}, 0, tuple(range(number))) for number in range(300)
    ]
    found = texts(*many)
    assert sum(each.startswith(("Call", "Not")) for each in found) == MAX_PIECES
    assert f"and {300 - MAX_PIECES} more pieces, {(300 - MAX_PIECES) // 2} of them delegated" in found


def test_values_that_skip_pieces_are_drawn() -> None:
    straight = [Piece(number % 2 == 0, {"a": 1}, 0, (number - 1,) if number else ()) for number in range(4)]
    skipping = [*straight[:3], Piece(False, {"a": 1}, 0, (0, 2, 77))]
    with styled():
        plain, skipped = (graph_plot(each, "onnx").axes[0] for each in (straight, skipping))
    assert len(skipped.lines) == len(plain.lines) + 2


def test_a_report_has_the_graph_of_each_program(desk: Desk) -> None:
    pieces = (Piece(True, {"conv": 2}, 10**6), Piece(False, {HOSTILE: 1}, 0, (0,)))
    desk.export(manifest(target="executorch", pieces=pieces))
    page = draw(*desk.runs)
    assert "Call 1, delegated, 2 operators, 1.0 M MACs (100.0%)" in page
    assert "<script>document" not in page
