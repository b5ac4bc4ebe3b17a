from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools.matrix.baseline import Margins, compare_with_baseline
from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.matrix.outcome import SmokeResult, exit_code_of
from tests.matrix.samples import CELL, UNRUNNABLE, broken, not_verified, passed

OTHERS = [replace(CELL, target=target) for target in ("onnx", "coreml")]


def outcome(*results: CellResult, before: CellResult | None = None) -> SmokeResult:
    """Return these cells as one run, compared with one stored cell where one is given."""
    report = before and compare_with_baseline({before.cell.name: before}, results, Margins(), Path("smoke.json"))
    statuses = [result.status for result in results]
    return SmokeResult(
        cells=results,
        passed=statuses.count("passed"),
        not_verified=statuses.count("not_verified"),
        failed=statuses.count("failed"),
        errors=statuses.count("error"),
        left_out=("onnx has no precision named 'palette4'.",),
        baseline=report,
        exit_code=exit_code_of(results, report),
        tools={"torch": "2.13.0"},
        seconds=20.0,
    )


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ((0,), 0),
        ((0, 4), 4),
        ((4, 6), 6),
        ((6, 5), 5),
        ((5, 3), 3),
        ((3, 2), 2),
        ((2, 1), 1),
        ((4, None), 1),
        ((4, -11), 1),
        ((0, 137), 1),
        ((0, 130), 1),
    ],
)
def test_the_worst_exit_code_wins(codes: tuple[int | None, ...], worst: int) -> None:
    results = [passed() if code == 0 else broken(CELL, exit_code=code) for code in codes]
    assert exit_code_of(results, None) == worst
    assert exit_code_of(results[::-1], None) == worst


def test_a_regression_is_a_failed_gate_and_a_wrong_baseline_bad_input() -> None:
    assert outcome(passed(size=2_000_000), before=passed()).exit_code == 4
    assert outcome(passed(), before=passed(macs=1)).exit_code == 3
    assert outcome(passed(), before=passed()).exit_code == 0
    assert outcome(passed(size=2_000_000), broken(OTHERS[0], exit_code=5), before=passed()).exit_code == 5


def test_verdicts() -> None:
    regressed = outcome(passed(size=2_000_000), passed(OTHERS[0]), broken(OTHERS[1], exit_code=4), before=passed())
    assert [regressed.verdict(cell) for cell in regressed.cells] == ["regressed", "passed", "failed"]
    assert [cell.cell.target for cell in regressed.worst_first] == ["executorch", "coreml", "onnx"]
    other = outcome(passed(), before=passed(macs=1))
    assert other.verdict(other.cells[0]) == "not comparable"


def test_what_could_not_be_verified_is_no_pass_and_no_failure() -> None:
    run = outcome(passed(OTHERS[0]), not_verified())
    assert (run.passed, run.not_verified, run.failed, run.errors, run.exit_code) == (1, 1, 0, 0, 0)
    assert [run.verdict(cell) for cell in run.worst_first] == ["not verified", "passed"]
    assert f"{CELL.name}: {UNRUNNABLE}" in run.notes
    assert run.complaints(CELL.name) == ()

    lost = outcome(not_verified(), before=passed())
    assert (lost.verdict(lost.cells[0]), lost.exit_code) == ("regressed", 4)
    same = outcome(not_verified(size=2_000_000), before=not_verified())
    assert (same.verdict(same.cells[0]), same.exit_code) == ("regressed", 4)
    assert "2,000,000 bytes" in same.complaints(CELL.name)[0]


def test_notes_say_what_was_left_out_and_what_only_one_side_has() -> None:
    run = outcome(passed(OTHERS[0]), before=passed())
    assert run.notes == (
        "Left out: onnx has no precision named 'palette4'.",
        "Compared with smoke.json: 0 of 1 cells.",
        f"In the baseline, not in this run: {CELL.name}.",
        f"New: {OTHERS[0].name}.",
    )


def test_a_comparison_of_nothing_is_no_success_and_hides_no_other_failure() -> None:
    assert outcome(passed(), before=broken(CELL)).exit_code == 3
    assert outcome(passed(OTHERS[0]), before=passed()).exit_code == 3
    assert outcome(broken(CELL, exit_code=4), before=passed()).exit_code == 4
    assert outcome(passed(), passed(OTHERS[0]), before=passed()).exit_code == 0
