"""Export and verify a matrix of models, targets, precisions and devices, each cell in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.api.given import model_names
from mobilevit_tools.artifacts.versions import tool_versions
from mobilevit_tools.errors import BadInputError, MvtError, UsageError
from mobilevit_tools.input_size import Size, as_size, size_text
from mobilevit_tools.jsonable import envelope
from mobilevit_tools.matrix.aside import without_artifact
from mobilevit_tools.matrix.baseline import Margins, check_comparable, compare_with_baseline, read_baseline
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.matrix.junit import junit_xml
from mobilevit_tools.matrix.outcome import SmokeResult, exit_code_of
from mobilevit_tools.matrix.plan import Axes, plan_cells
from mobilevit_tools.matrix.run import run_cell
from mobilevit_tools.matrix.summary import markdown_summary
from mobilevit_tools.models.names import list_models
from mobilevit_tools.process_state import restoring
from mobilevit_tools.progress import Progress, counted, silent
from mobilevit_tools.quantization._base import check_calibrated
from mobilevit_tools.several import several
from mobilevit_tools.targets.registry import ALL, TARGETS, named_targets
from mobilevit_tools.writing import check_file, write_whole

TIMEOUT_S = 600.0
Finished = Callable[[CellResult, int, int], None]
"""Told of every finished cell: its result, its number and how many there are."""


@restoring
def smoke(
    models: str | Sequence[str] = (),
    *,
    targets: str | Sequence[str] | None = None,
    precisions: str | Sequence[str] = ("fp32",),
    backends: str | Sequence[str] = (),
    devices: str | Sequence[str] = (),
    checkpoint: str | Path | None = None,
    random_weights: bool = False,
    input_size: Size | None = None,
    options: str | Sequence[str] = (),
    calibration: str | Path | None = None,
    calibration_size: int | None = None,
    timeout_s: float = TIMEOUT_S,
    baseline: Path | None = None,
    margins: Margins | None = None,
    output: Path | None = None,
    junit: Path | None = None,
    summary: Path | None = None,
    keep: Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    finished: Finished | None = None,
) -> SmokeResult:
    """Run the matrix; a cell that crashes, hangs or fails its gate does not stop the others.

    An artifact that nothing here can run is neither passed nor failed: its cell is ``not_verified``, and raises nothing
    unless the baseline had it verified.

    Args:
        models: Models, as :func:`mobilevit_tools.export` takes them; by default those with bundled weights.
        targets: Export targets; by default all that have the precision.
        precisions: Precisions.
        backends: ExecuTorch backends; by default its default.
        devices: Where to run the artifacts after the export; by default they are exported and verified only.
        checkpoint: Weights; for one model only.
        random_weights: Allow random weights for models that have none.
        input_size: ``224``, or height and width in pixels; by default each model's own.
        options: Options of the models' builders, each ``name=value``.
        calibration: A folder of photos for precisions that are calibrated.
        calibration_size: How many of them to use; by default 200.
        timeout_s: Time limit of each cell.
        baseline: What an earlier run wrote to its ``output``.
        margins: How much worse than the baseline is no regression.
        output: Receives the result as JSON, also of a run that fails.
        junit: Receives JUnit XML.
        summary: A Markdown summary is appended to this file.
        keep: A new folder for the artifacts, which are thrown away otherwise.
        overwrite: Replace ``output`` and ``junit``.
        progress: Told of every cell that starts.
        finished: Told of every cell that ended.

    Raises:
        UsageError: The matrix is not possible, or two of ``output``, ``junit`` and ``baseline`` are one file.
        BadInputError: The baseline cannot be used, or a file cannot be written.
        MvtError: A cell failed or regressed; of the class of the worst exit code, with the result in ``result``.

    Example:
        >>> result = mvt.smoke(["couplformer_kct2"], targets=["onnx"], random_weights=True)
        >>> result.passed, result.cells[0].cell.name
        (1, 'couplformer_kct2/onnx/fp32')
    """
    started = time.perf_counter()
    if not 0 < timeout_s < float("inf"):
        raise UsageError(f"The time limit of a cell must be above 0, not {timeout_s:g} s.")
    chosen = _models(model_names(models, "smoke"), checkpoint, random_weights=random_weights)
    axes = Axes(
        tuple(chosen),
        _targets(targets),
        several(precisions),
        several(backends),
        several(devices),
        calibration=None if calibration is None else str(calibration),
        calibration_size=calibration_size,
    )
    template = Cell(
        model=chosen[0],
        target=next(iter(TARGETS)),
        checkpoint=None if checkpoint is None else str(checkpoint),
        random_weights=random_weights,
        input_size=size_text(as_size(input_size)),
        options=several(options),
    )
    plan = plan_cells(axes, template)
    check_calibrated(axes.precisions, calibration=calibration, calibration_size=calibration_size)
    _check_files(output, junit, baseline, summary, overwrite=overwrite)
    stored: Mapping[str, CellResult] = {}
    if baseline is not None:
        stored = read_baseline(baseline)
        check_comparable(stored, plan.cells, baseline)
    results = _run_all(plan.cells, keep, timeout_s, progress, finished)
    report = None if baseline is None else compare_with_baseline(stored, results, margins or Margins(), baseline)
    statuses = [each.status for each in results]
    result = SmokeResult(
        cells=tuple(results),
        passed=statuses.count("passed"),
        not_verified=statuses.count("not_verified"),
        failed=statuses.count("failed"),
        errors=statuses.count("error"),
        left_out=plan.left_out,
        baseline=report,
        exit_code=exit_code_of(results, report),
        tools=tool_versions(),
        seconds=round(time.perf_counter() - started, 3),
    )
    error = _error(result)
    _write(result, error, output, junit, summary)
    if error is not None:
        raise error
    return result


def _check_files(
    output: Path | None, junit: Path | None, baseline: Path | None, summary: Path | None, *, overwrite: bool
) -> None:
    """Refuse files that cannot be written, and one file for two purposes: what is written last would be all of it."""
    files = {"--output": output, "--junit": junit, "--baseline": baseline}
    given = [(option, file, os.path.realpath(file)) for option, file in files.items() if file is not None]
    for (option, file, real), (other, _, other_real) in combinations(given, 2):
        if real == other_real:
            raise UsageError(f"{option} and {other} are the same file, {file}.", hint="Use a different file for each.")
    for written in (output, junit):
        if written is not None:
            check_file(written, overwrite=overwrite)
    if summary is not None:
        _append(summary, "")


def _models(models: Sequence[str], checkpoint: str | Path | None, *, random_weights: bool) -> list[str]:
    chosen = list(dict.fromkeys(models))
    if checkpoint is not None and len(chosen) != 1:
        raise UsageError(
            "--checkpoint requires exactly one model.", hint="For example: mvt smoke MODEL --checkpoint PATH"
        )
    if not chosen and random_weights:
        raise UsageError(
            "Models with bundled weights do not use --random-weights.",
            hint="Name other models: mvt smoke MODEL --random-weights",
        )
    return chosen or [name for name in list_models() if "." in name]


def _targets(targets: str | Sequence[str] | None) -> tuple[str, ...] | None:
    asked = several(targets or ALL)
    names = named_targets(asked)
    return None if ALL in asked else names


@contextmanager
def _kept(keep: Path | None) -> Iterator[Path | None]:
    """Make the folder that keeps the artifacts; one that was interrupted is removed."""
    if keep is None:
        yield None
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        occupied = any(keep.iterdir())
    except OSError as error:
        raise BadInputError(f"{keep} cannot be written: {error.strerror}.", code="output") from error
    if occupied:
        raise UsageError(f"{keep} is not empty.", hint="Give --keep a new folder.", code="exists")
    try:
        yield keep
    except BaseException:
        shutil.rmtree(keep, ignore_errors=True)
        raise


def _run_all(
    cells: Sequence[Cell], keep: Path | None, timeout_s: float, progress: Progress, finished: Finished | None
) -> list[CellResult]:
    results = []
    total = len(cells)
    with _kept(keep) as folder:
        for number, cell in enumerate(counted(progress, f"Smoke-testing {total} exports", cells, total), start=1):
            with progress(f"[{number}/{total}] {cell.name}"):
                results.append(_run(cell, number, folder, timeout_s))
            if finished is not None:
                finished(results[-1], number, total)
    return results


def _run(cell: Cell, number: int, keep: Path | None, timeout_s: float) -> CellResult:
    if keep is not None:
        return run_cell(cell, keep / f"{number:02d}", timeout_s=timeout_s)
    with TemporaryDirectory(prefix="mvt-smoke-", ignore_cleanup_errors=True) as folder:
        return without_artifact(run_cell(cell, Path(folder), timeout_s=timeout_s), Path(folder))


def _write(
    result: SmokeResult, error: MvtError | None, output: Path | None, junit: Path | None, summary: Path | None
) -> None:
    if output is not None:
        write_whole(output, (json.dumps(envelope("smoke", result, error), allow_nan=False) + "\n").encode())
    if junit is not None:
        write_whole(junit, junit_xml(result).encode())
    if summary is not None:
        _append(summary, markdown_summary(result))


def _error(result: SmokeResult) -> MvtError | None:
    if not result.exit_code:
        return None
    bad = [(cell, result.verdict(cell)) for cell in result.worst_first if result.complaints(cell.cell.name)]
    named = "; ".join(f"{cell.cell.name} {verdict}" for cell, verdict in bad)
    command = next((cell.command for cell, _ in bad if cell.command), None)
    kind = next((each for each in MvtError.__subclasses__() if each.exit_code == result.exit_code), MvtError)
    return kind(
        f"{len(bad)} of {len(result.cells)} cells did not pass: {named}."
        if bad
        else "All cells passed, but none could be compared with the baseline.",
        hint=f"Reproduce the first one: {command}" if command else None,
        code="smoke_failed",
        result=result,
    )


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInputError(f"Cannot append the summary to {path}: {error.strerror}.", code="output") from error
