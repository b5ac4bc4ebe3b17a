from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.jsonable import envelope, jsonable
from mobilevit_tools.matrix.baseline import (
    BaselineReport,
    Margins,
    check_comparable,
    compare_with_baseline,
    read_baseline,
)
from mobilevit_tools.matrix.cell import CellResult
from tests.matrix.samples import CELL, broken, passed

STORED = Path("smoke.json")


def compare(before: CellResult, now: CellResult, margins: Margins | None = None) -> BaselineReport:
    return compare_with_baseline({before.cell.name: before}, [now], margins or Margins(), STORED)


def test_the_same_figures_are_no_regression() -> None:
    report = compare(passed(), passed())
    assert report.compared == (CELL.name,)
    assert (report.regressions, report.incomparable, report.missing, report.new) == ((), (), (), ())


@pytest.mark.parametrize(
    ("within", "beyond", "figure", "said"),
    [
        ({"size": 1_020_000}, {"size": 1_020_001}, "size", "1,020,001 bytes, +2.0% on 1,000,000"),
        ({"snr_db": 114.0}, {"snr_db": 113.9}, "parity", "SNR 113.9 dB, 6.1 dB below 120.0"),
        ({"calls": 1}, {"calls": 2}, "delegate_calls", "2 delegate calls, 1 more than 1"),
        ({"outside": {}}, {"outside": {"elu": 1}}, "outside", "1 non-delegated operator, 1 more"),
        ({"outside": {}}, {"outside": {"elu": 1, "mean": 2}}, "outside", "3 non-delegated operators, 3 more"),
        ({"instructions": 5_100_000}, {"instructions": 5_100_001}, "instructions", "5,100,001 instructions, +2.0% on"),
        ({"parity": "passed"}, {"parity": "not_verified"}, "parity", "not verified, but verified in the baseline"),
        ({"instructions": 1}, {"instructions": None}, "instructions", "no longer reported (5,000,000"),
    ],
)
def test_each_figure_has_its_margin(within: dict[str, Any], beyond: dict[str, Any], figure: str, said: str) -> None:
    assert compare(passed(), passed(**within)).regressions == ()
    (regression,) = compare(passed(), passed(**beyond)).regressions
    assert (regression.cell, regression.figure) == (CELL.name, figure)
    assert said in regression.message


@pytest.mark.parametrize(
    ("margins", "now"),
    [
        (Margins(size=0.5), {"size": 1_500_000}),
        (Margins(snr_db=30), {"snr_db": 90.0}),
        (Margins(calls=3), {"calls": 4}),
        (Margins(outside=2), {"outside": {"elu": 2}}),
        (Margins(instructions=0.1), {"instructions": 5_500_000}),
    ],
)
def test_margins_can_be_widened_one_by_one(margins: Margins, now: dict[str, Any]) -> None:
    assert compare(passed(), passed(**now)).regressions
    assert not compare(passed(), passed(**now), margins).regressions


def test_what_got_better_is_no_regression() -> None:
    better = passed(size=1, snr_db=200.0, calls=0, instructions=1)
    assert compare(passed(outside={"elu": 3}), better).regressions == ()


def test_several_figures_regress_at_once() -> None:
    report = compare(passed(), passed(size=2_000_000, calls=9, instructions=9_000_000))
    assert [each.figure for each in report.regressions] == ["size", "instructions", "delegate_calls"]


@pytest.mark.parametrize("other", [{"macs": 701}, {"params": 71}])
def test_another_model_is_not_compared(other: dict[str, int]) -> None:
    report = compare(passed(**other), passed(size=9_000_000))
    (refused,) = report.incomparable
    assert refused.other_model
    assert "in the baseline" in refused.reason
    assert (report.compared, report.regressions) == ((), ())


def test_a_cell_without_figures_is_said_and_not_compared() -> None:
    (today,) = compare(passed(), broken(CELL)).incomparable
    (then,) = compare(broken(CELL), passed()).incomparable
    assert not today.other_model
    assert not then.other_model
    assert (today.reason, then.reason) == (
        "This run produced no artifact for it.",
        "It did not pass in the baseline run.",
    )


def test_cells_of_one_side_only_are_said() -> None:
    onnx, coreml = replace(CELL, target="onnx"), replace(CELL, target="coreml")
    stored = {result.cell.name: result for result in (passed(), passed(onnx))}
    report = compare_with_baseline(stored, [passed(), passed(coreml)], Margins(), STORED)
    assert (report.missing, report.new, report.compared) == ((onnx.name,), (coreml.name,), (CELL.name,))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "onnx"}, "contains none of the cells of this run"),
        ({"input_size": "64"}, "with input size not set, and this run has it with 64"),
        ({"options": ("depth=2",)}, "with options not set"),
        ({"random_weights": False}, "with random weights True"),
    ],
)
def test_a_baseline_of_something_else_is_refused_before_anything_runs(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said) as refused:
        check_comparable({CELL.name: passed()}, [replace(CELL, **change)], STORED)
    assert refused.value.error_code == "other_baseline"


def stored(tmp_path: Path, **changes: object) -> Path:
    body = envelope("smoke", {"cells": [jsonable(passed())]})
    assert isinstance(body, dict)
    path = tmp_path / "smoke.json"
    path.write_text(json.dumps({**body, **changes}))
    return path


def test_a_baseline_is_read_by_name(tmp_path: Path) -> None:
    assert read_baseline(stored(tmp_path)) == {CELL.name: passed()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "has schema 2; this version reads 1"),
        ({"command": "profile"}, "is not a result of mvt smoke"),
        ({"result": None}, "holds no cells"),
        ({"result": {"cells": 3}}, "holds no cells"),
        ({"result": {"cells": [{}]}}, "cell 1 is not a result of mvt smoke"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        read_baseline(stored(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("[NaN]", "is not JSON: NaN is not a finite"),
        ("[1e999]", "1e999 is not a finite"),
        ("[]", "is not a result"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "smoke.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInputError, match=said):
        read_baseline(path)


def test_a_baseline_in_which_nothing_passed_is_refused_before_anything_runs() -> None:
    for then in (broken(CELL), broken(CELL, exit_code=4)):
        with pytest.raises(BadInputError, match="cannot be used") as refused:
            check_comparable({CELL.name: then}, [CELL], STORED)
        assert (refused.value.error_code, refused.value.exit_code) == ("other_baseline", 3)
        assert compare(then, passed()).compared == ()
    other = replace(CELL, target="onnx")
    check_comparable({CELL.name: broken(CELL), other.name: passed(other)}, [CELL, other], STORED)
