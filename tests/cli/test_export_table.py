"""The table of an export keeps its figures on a narrow terminal, and its lines whole where no terminal is."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from mobilevit_tools.artifacts.exported import ExportResult
from mobilevit_tools.cli.export import _render
from mobilevit_tools.cli.output import PIPED_WIDTH, command_output
from mobilevit_tools.cli.tables import parity_notes, quantized_notes
from mobilevit_tools.exporters._base import Delegation
from mobilevit_tools.quantization.share import FloatLayer, QuantizedShare
from mobilevit_tools.verification.parity import Parity
from tests.found import exported, parity

SHARE = QuantizedShare(1.0, 1.0, 0.0, 0.0, layers=3, quantized=3, floating=(), weights_alone=False)


@pytest.mark.parametrize("precision", ["int8", "dynamic-int8"])
def test_figures_are_whole_in_80_columns(precision: str) -> None:
    made = exported(
        target="executorch",
        backend="xnnpack",
        precision=precision,
        size_bytes=21_370_000,
        parity=parity(max_abs_rel=0.123, snr_db=23.4),
        delegation=Delegation(1, {"argmax": 2}),
        quantized=SHARE,
        seconds={"total": 1067.0},
    )
    console = Console(file=io.StringIO(), width=80)
    _render(console, ExportResult("net", False, None, (made,)), times=False)
    printed = console.file.getvalue()
    for figure in ("21.37 MB", "23.4", "1067 s", "100.0%", "passed", "outside", "SQNR dB", "quantized"):
        assert figure in printed
    assert "…" not in printed
    assert "1.2e-01" not in printed  # no gate bounds it


def test_the_largest_difference_is_shown_where_a_gate_bounds_it() -> None:
    console = Console(file=io.StringIO(), width=80)
    _render(console, ExportResult("net", False, None, (exported(parity=parity(max_abs_rel=2e-6)),)), times=False)
    assert "2.0e-06" in console.file.getvalue()


def test_what_is_piped_is_not_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    line = "word " * 30
    with command_output("export") as out:
        assert (out.console.width, out.log.width) == (PIPED_WIDTH, PIPED_WIDTH)
        out.show(line, lambda console, text: console.print(text))
    assert capsys.readouterr().out.rstrip() == line.rstrip()
    monkeypatch.setenv("COLUMNS", "40")
    with command_output("export") as out:
        assert out.console.width == 40


def test_of_many_layers_in_floating_point_the_largest_are_named() -> None:
    floating = tuple(FloatLayer(f"layer{place}", "Conv", 0.001, 0.0, asked=place > 0) for place in range(8))
    notes = [*quantized_notes(replace(SHARE, floating=floating))]
    assert notes[1] == "in floating point: layer0 (Conv, 0.1% of the weights, 0.0% of the MACs)"
    assert [name in notes[2] for name in ("layer1", "layer3", "layer4", "4 more")] == [True, True, False, True]


def test_only_predictions_have_a_line_on_photos_that_were_held_out() -> None:
    found = Parity(status="passed", held_out=100, pixel_agreement=0.999)
    assert not [note for note in parity_notes(found) if "top-1" in note]
    assert not [note for note in parity_notes(replace(found, pixel_agreement=None)) if "top-1" in note]
    assert [note for note in parity_notes(replace(found, top1_agreement=0.5)) if "top-1" in note]
