"""Is an artifact larger, less right, less delegated or slower than it was? Today's cells against stored ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.documents import DocumentKind, read_document, typed
from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.jsonable import SCHEMA
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.matrix.figures import Figures
from mobilevit_tools.wording import number_of

BASELINE = DocumentKind(
    "a result of mvt smoke", "bad_baseline", hint="Create one with: mvt smoke ... --output smoke.json"
)
_SAME = ("input_size", "options", "random_weights")
"""The fields of a cell without which two artifacts of one name are not of one model."""
_FAILED = "It did not pass in the baseline run."


@dataclass(frozen=True)
class Margins:
    """How much worse than the baseline is no regression.

    Attributes:
        size: Share by which the artifact may grow.
        snr_db: Decibels by which its signal-to-noise ratio against PyTorch may fall. Processors round differently.
        calls: Calls into its backend that it may gain.
        outside: Operators outside its backend that it may gain.
        instructions: Share by which its instruction count may grow.
    """

    size: float = 0.02
    snr_db: float = 6.0
    calls: int = 0
    outside: int = 0
    instructions: float = 0.02


@dataclass(frozen=True)
class Regression:
    """One figure that got worse by more than its margin.

    Attributes:
        cell: The cell's name.
        figure: ``size``, ``parity``, ``delegate_calls``, ``outside`` or ``instructions``.
        message: What it was, is, and may be.
    """

    cell: str
    figure: str
    message: str


@dataclass(frozen=True)
class Incomparable:
    """A cell that is in both runs and yet cannot be compared.

    Attributes:
        cell: The cell's name.
        reason: Why.
        other_model: Whether the baseline is of another model, so that it is the wrong baseline.
    """

    cell: str
    reason: str
    other_model: bool


@dataclass(frozen=True)
class BaselineReport:
    """A run against a stored one.

    Attributes:
        path: The stored run.
        margins: What was allowed.
        compared: Names of the cells whose figures were compared.
        regressions: What got worse by more than its margin.
        incomparable: Cells of both runs that could not be compared.
        missing: Names of cells that the baseline has and this run lacks.
        new: Names of cells that this run has and the baseline lacks.
    """

    path: Path
    margins: Margins
    compared: tuple[str, ...]
    regressions: tuple[Regression, ...]
    incomparable: tuple[Incomparable, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]


def read_baseline(path: Path) -> dict[str, CellResult]:
    """Read what ``mvt smoke`` stored: its cells by name.

    Raises:
        BadInputError: The file is missing, of another schema, or holds something else.
    """
    raw = read_document(path, BASELINE)
    if not isinstance(raw, dict) or raw.get("command") != "smoke":
        raise BASELINE.error(f"{path} is not a result of mvt smoke.")
    if raw.get("schema") != SCHEMA:
        raise BASELINE.error(f"{path} has schema {raw.get('schema')!r}; this version reads {SCHEMA}.")
    result = raw.get("result")
    cells = result.get("cells") if isinstance(result, dict) else None
    if not isinstance(cells, list):
        raise BASELINE.error(f"{path} holds no cells.")
    results = (typed(CellResult, cell, f"{path}, cell {index}", BASELINE) for index, cell in enumerate(cells, start=1))
    return {result.cell.name: result for result in results}


def check_comparable(baseline: Mapping[str, CellResult], cells: Sequence[Cell], path: Path) -> None:
    """Refuse, before anything runs, a baseline that can have nothing to say of these cells.

    Raises:
        BadInputError: It shares no cell with them, none of those that it shares passed in it, or it was made with other
            options of the model.
    """
    shared = [cell for cell in cells if cell.name in baseline]
    if not shared:
        raise BadInputError(
            f"{path} contains none of the cells of this run, only {', '.join(baseline) or 'none at all'}.",
            hint="Create one with the same models, targets and precisions: mvt smoke ... --output smoke.json",
            code="other_baseline",
        )
    if all(_unusable(baseline[cell.name]) for cell in shared):
        raise BadInputError(
            f"{path} cannot be used: none of its cells in this run passed.",
            hint="Create one from a passing run: mvt smoke ... --output smoke.json",
            code="other_baseline",
        )
    for cell in shared:
        stored = baseline[cell.name].cell
        for field in _SAME:
            was, now = getattr(stored, field), getattr(cell, field)
            if was != now:
                raise BadInputError(
                    f"{path} has {cell.name} with {field.replace('_', ' ')} {was or 'not set'}, and this run has it "
                    f"with {now or 'not set'}: the models differ.",
                    hint="Use the options of the baseline, or create a new baseline.",
                    code="other_baseline",
                )


def compare_with_baseline(
    baseline: Mapping[str, CellResult], results: Sequence[CellResult], margins: Margins, path: Path
) -> BaselineReport:
    """Compare every cell that is in both; a cell that failed by itself today is not compared."""
    compared: list[str] = []
    regressions: list[Regression] = []
    incomparable: list[Incomparable] = []
    for now in results:
        name, before = now.cell.name, baseline.get(now.cell.name)
        if before is None:
            continue
        reason = _incomparable(before, now)
        if reason is not None:
            incomparable.append(reason)
            continue
        compared.append(name)
        regressions += [Regression(name, figure, message) for figure, message in _worse(before, now, margins)]
    names = [result.cell.name for result in results]
    return BaselineReport(
        path=path,
        margins=margins,
        compared=tuple(compared),
        regressions=tuple(regressions),
        incomparable=tuple(incomparable),
        missing=tuple(name for name in baseline if name not in names),
        new=tuple(name for name in names if name not in baseline),
    )


def _unusable(before: CellResult) -> str | None:
    """Say why a stored cell has no figures to compare with; None where it has."""
    if before.artifact is None or before.exit_code != ExitCode.OK:
        return _FAILED
    return None


def _incomparable(before: CellResult, now: CellResult) -> Incomparable | None:
    name = now.cell.name
    if now.artifact is None:
        return Incomparable(name, "This run produced no artifact for it.", other_model=False)
    unusable = _unusable(before)
    if before.artifact is None or unusable is not None:
        return Incomparable(name, unusable or _FAILED, other_model=False)
    for figure in ("params", "macs"):
        was, has = getattr(before.artifact, figure), getattr(now.artifact, figure)
        if was != has:
            unit = "parameters" if figure == "params" else "MACs"
            return Incomparable(name, f"It has {has} {unit}, and {was} in the baseline.", other_model=True)
    return None


def _worse(before: CellResult, now: CellResult, margins: Margins) -> Iterator[tuple[str, str]]:
    was, has = Figures.of(before), Figures.of(now)
    yield from _grown("size", "bytes", was.size_bytes, has.size_bytes, margins.size)
    yield from _grown("instructions", "instructions", was.instructions, has.instructions, margins.instructions)
    verdicts = tuple(None if each.artifact is None else each.artifact.parity.status for each in (before, now))
    if verdicts == ("passed", "not_verified"):
        yield "parity", "not verified, but verified in the baseline"
    elif was.snr_db is not None and has.snr_db is not None and has.snr_db < was.snr_db - margins.snr_db:
        fall = f"{was.snr_db - has.snr_db:.1f} dB below {was.snr_db:.1f}"
        yield "parity", f"SNR {has.snr_db:.1f} dB, {fall}, where {margins.snr_db:g} are allowed"
    yield from _more("delegate_calls", "delegate calls", was.calls, has.calls, margins.calls)
    yield from _more("outside", "non-delegated operators", was.outside, has.outside, margins.outside)
    if now.exit_code == ExitCode.OK:
        for figure, old, new in (
            ("instructions", was.instructions, has.instructions),
            ("delegate_calls", was.calls, has.calls),
        ):
            if old is not None and new is None:
                yield figure, f"no longer reported ({old:,} in the baseline)"


def _grown(figure: str, unit: str, was: int | None, has: int | None, share: float) -> Iterator[tuple[str, str]]:
    if was and has is not None and has > was * (1 + share):
        yield figure, f"{has:,} {unit}, {has / was - 1:+.1%} on {was:,}, where {share:+.1%} is allowed"


def _more(figure: str, unit: str, was: int | None, has: int | None, allowed: int) -> Iterator[tuple[str, str]]:
    if was is not None and has is not None and has > was + allowed:
        yield figure, f"{number_of(has, unit)}, {has - was} more than {was}, where {allowed} are allowed"
