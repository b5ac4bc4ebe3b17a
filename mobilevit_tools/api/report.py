"""Write a report: one HTML file from manifests, JSON envelopes and sweeps, and its plots as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import UsageError
from mobilevit_tools.process_state import restoring
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.reporting.figures import FORMATS, figure_file, styled
from mobilevit_tools.reporting.intake import read_runs
from mobilevit_tools.result import Result
from mobilevit_tools.several import several
from mobilevit_tools.writing import check_destination, write_whole

if TYPE_CHECKING:
    from mobilevit_tools.reporting.contents import Contents


@dataclass(frozen=True, repr=False)
class ReportResult(Result, command="report"):
    """What was written, and of what.

    Attributes:
        path: The report.
        plots: The plots that were written as files.
        artifacts: How many artifacts it shows.
        failed: How many of them failed their numeric gate.
        measurements: How many measurements.
        evaluations: How many evaluations.
        failures: How many commands and cells ended in an error.
        compared: How many artifacts stand beside their earlier selves.
        worse: How many of those have a figure that became worse.
    """

    path: Path
    plots: tuple[Path, ...]
    artifacts: int
    failed: int
    measurements: int
    evaluations: int
    failures: int
    compared: int = 0
    worse: int = 0


@restoring
def report(
    runs: str | Path | Sequence[str | Path],
    *,
    output: str | Path = "report.html",
    against: str | Path | Sequence[str | Path] = (),
    plots: str | Path | None = None,
    plot_format: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ReportResult:
    """Bring together what was exported, verified, measured and evaluated, as one self-contained HTML file.

    Args:
        runs: Folders of artifacts, files that ``mvt export``, ``verify``, ``profile``, ``eval`` or ``smoke`` printed
            with ``--json``, and the results of sweeps.
        output: The report.
        against: Earlier runs, of the same kinds, to compare with: what changed is marked.
        plots: A folder that receives every plot as a file of its own; None writes none.
        plot_format: ``svg``, which is the default, or ``png``.
        overwrite: Replace existing files.
        progress: Told of every step.

    Raises:
        UsageError: No run was given, the format is unknown or of no plots, or something is there already.
        BadInputError: A run cannot be read or holds nothing that a report shows, or the output cannot be written.

    Example:
        >>> mvt.report(["out"], output="report.html").failed
        0
    """
    page, folder = Path(output), None if plots is None else Path(plots)
    if not runs:
        raise UsageError("A report needs at least one run.", hint="Give a folder that `mvt export` wrote.")
    if plot_format is not None and folder is None:
        raise UsageError("--plot-format requires --plots.", hint="Add --plots, or omit --plot-format.")
    plot_format = FORMATS[0] if plot_format is None else plot_format
    if plot_format not in FORMATS:
        raise UsageError(f"There is no plot format named {plot_format!r}.", hint=f"It is {' or '.join(FORMATS)}.")
    if page.is_dir():
        raise UsageError(f"{page} is a folder.", hint=f"Give a file, such as -o {page / 'report.html'}.")
    check_destination(page, overwrite=overwrite)
    if folder is not None:
        check_destination(folder / "plot", overwrite=overwrite)
    with progress("Reading the runs"):
        evidence = read_runs([Path(run) for run in several(runs)])
        before = read_runs([Path(run) for run in several(against)]) if against else None
    from mobilevit_tools.reporting.contents import contents
    from mobilevit_tools.reporting.page import render

    with styled():
        with progress("Drawing the plots"):
            shown = contents(evidence, before)
        files = {} if folder is None else _plot_files(shown, folder, plot_format, overwrite=overwrite)
        with progress(f"Writing {page}"):
            for path, content in {**files, page: render(shown).encode()}.items():
                write_whole(path, content)
    return ReportResult(
        path=page,
        plots=tuple(files),
        artifacts=len(evidence.artifacts),
        failed=sum(each.parity is not None and each.parity.status == "failed" for each in evidence.artifacts),
        measurements=sum(len(each.profiles) for each in evidence.artifacts),
        evaluations=sum(len(each.evaluations) for each in evidence.artifacts),
        failures=len(evidence.failures),
        compared=len(shown.compared.pairs) if shown.compared else 0,
        worse=shown.compared.worse if shown.compared else 0,
    )


def _plot_files(shown: Contents, folder: Path, suffix: str, *, overwrite: bool) -> dict[Path, bytes]:
    """Return the content of every plot's file; those of other names in the folder are left alone."""
    files = {folder / f"{plot.name}.{suffix}": figure_file(plot.figure, suffix) for plot in shown.all_plots}
    for path in files:
        check_destination(path, overwrite=overwrite)
    return files
