"""What a whole matrix came to: one verdict and one exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobilevit_tools.errors import ExitCode
from mobilevit_tools.matrix.baseline import BaselineReport
from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.result import Result

_WORST_FIRST = (
    ExitCode.INTERNAL,
    ExitCode.USAGE,
    ExitCode.BAD_INPUT,
    ExitCode.MISSING_DEPENDENCY,
    ExitCode.DEVICE_FAILED,
    ExitCode.GATE_FAILED,
)
"""A figure that is off the gate is the least of all failures: whatever is above it could not be judged."""


@dataclass(frozen=True, repr=False)
class SmokeResult(Result, command="smoke"):
    """A matrix of exports, each verified and, where that was asked for, measured.

    Attributes:
        cells: What came of each cell, in the order in which they ran.
        passed: How many cells passed.
        not_verified: How many made an artifact that nothing here can run: neither passed nor failed.
        failed: How many failed a numeric gate.
        errors: How many ended in another way: crashed, hung, or refused.
        left_out: What nobody asked for by name and is not possible, a sentence each.
        baseline: The comparison with a stored run; None where none was given.
        exit_code: The worst of all cells' and the baseline's; a cell that crashed or hung counts as 1.
        tools: Versions by package.
        seconds: How long it took.
    """

    cells: tuple[CellResult, ...]
    passed: int
    not_verified: int
    failed: int
    errors: int
    left_out: tuple[str, ...]
    baseline: BaselineReport | None
    exit_code: int
    tools: Mapping[str, str]
    seconds: float

    def complaints(self, cell: str) -> tuple[str, ...]:
        """Return, a sentence each, what is wrong with a cell, by itself or against the baseline."""
        own = tuple(
            result.message
            for result in self.cells
            if result.cell.name == cell and result.message and result.status != "not_verified"
        )
        if self.baseline is None:
            return own
        worse = tuple(f"Regressed: {each.message}." for each in self.baseline.regressions if each.cell == cell)
        other = tuple(each.reason for each in self.baseline.incomparable if each.cell == cell and each.other_model)
        return own + worse + other

    def verdict(self, result: CellResult) -> str:
        """Return the cell's status in words, or ``regressed``, or ``not comparable`` with a wrong baseline."""
        if result.status in ("failed", "error") or not self.complaints(result.cell.name):
            return result.status.replace("_", " ")
        wrong = self.baseline is not None and any(
            each.cell == result.cell.name and each.other_model for each in self.baseline.incomparable
        )
        return "not comparable" if wrong else "regressed"

    @property
    def worst_first(self) -> tuple[CellResult, ...]:
        """The cells, those with complaints first, and those that passed last."""
        return tuple(
            sorted(
                self.cells,
                key=lambda result: (not self.complaints(result.cell.name), result.status != "not_verified"),
            )
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to say, a sentence each: what was not verified, left out, or not in the baseline."""
        notes = [f"{each.cell.name}: {each.message}" for each in self.cells if each.status == "not_verified"]
        notes += [f"Left out: {reason}" for reason in self.left_out]
        report = self.baseline
        if report is not None:
            notes.append(f"Compared with {report.path}: {len(report.compared)} of {len(self.cells)} cells.")
            for heading, names in (("In the baseline, not in this run", report.missing), ("New", report.new)):
                if names:
                    notes.append(f"{heading}: {', '.join(names)}.")
            notes += [f"Not compared: {each.cell}. {each.reason}" for each in report.incomparable]
        return tuple(notes)


def exit_code_of(results: Sequence[CellResult], baseline: BaselineReport | None = None) -> ExitCode:
    """Return the worst exit code of all cells and of the comparison, which is no success where nothing was compared."""
    known = set(_WORST_FIRST) | {ExitCode.OK}
    codes = {ExitCode(result.exit_code) if result.exit_code in known else ExitCode.INTERNAL for result in results}
    if baseline is not None and baseline.regressions:
        codes.add(ExitCode.GATE_FAILED)
    if baseline is not None and any(each.other_model for each in baseline.incomparable):
        codes.add(ExitCode.BAD_INPUT)
    if baseline is not None and not baseline.compared and codes == {ExitCode.OK}:
        codes.add(ExitCode.BAD_INPUT)
    return next((code for code in _WORST_FIRST if code in codes), ExitCode.OK)
