"""``mvt report``: everything that was found out, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from mobilevit_tools.cli.arguments import AsJson, Verbosity
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.api.report import ReportResult


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Export folders, JSON output of mvt, and a sweep's results.jsonl.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", help="The HTML file.")] = Path("report.html"),
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", help="An earlier run to compare with; what changed is marked. Repeatable."),
    ] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Also write the plots to this folder.")] = None,
    plot_format: Annotated[
        str | None, typer.Option("--plot-format", help="Format of the plot files: svg or png. Default: svg.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Write one self-contained HTML page from exports, measurements, evaluations and sweeps."""
    with command_output("report", as_json=as_json, verbosity=verbose) as out:
        from mobilevit_tools.api.report import report as make

        result = make(
            runs,
            output=output,
            against=against or (),
            plots=plots,
            plot_format=plot_format,
            overwrite=overwrite,
            progress=out.progress,
        )
        out.show(result, _render)
        if against and not result.compared and not as_json:
            out.log.print(
                "note: no artifact is in both runs; they are matched by model, target, precision and input size",
                highlight=False,
                soft_wrap=True,
            )


def _render(console: Console, result: ReportResult) -> None:
    console.print(
        f"{number_of(result.artifacts, 'artifacts')} ({result.failed} failed the gate), "
        f"{number_of(result.measurements, 'measurements')}, "
        f"{number_of(result.evaluations, 'evaluations')}, {number_of(result.failures, 'failed commands')}",
        highlight=False,
    )
    if result.compared:
        console.print(
            f"{number_of(result.compared, 'artifacts')} compared, {result.worse} of them worse", highlight=False
        )
    for path in (result.path, *result.plots):
        console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)
