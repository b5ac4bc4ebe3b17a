"""``mvt smoke``: does every export still work?"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import (
    AsJson,
    CheckpointOption,
    InputSize,
    Options,
    RandomWeights,
    Verbosity,
    check_bounds,
    finite,
    parse_share,
)
from mobilevit_tools.cli.completion import complete_device, complete_model, complete_target
from mobilevit_tools.cli.output import Output, command_output
from mobilevit_tools.cli.target_help import BACKEND_HELP
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE
from mobilevit_tools.targets.precisions import CALIBRATED
from mobilevit_tools.targets.registry import TARGETS

if TYPE_CHECKING:
    from mobilevit_tools.api.smoke import Finished
    from mobilevit_tools.matrix.baseline import Margins
    from mobilevit_tools.matrix.cell import CellResult
    from mobilevit_tools.matrix.outcome import SmokeResult

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def smoke(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models to test. Default: those with bundled weights.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            autocompletion=complete_target,
            help=f"{', '.join(TARGETS)}. Repeatable. Default: all that support the precision.",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option("--precision", help="A precision. Repeatable. Default: fp32.")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", help=f"{BACKEND_HELP} Repeatable. Default: the first of each target."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            autocompletion=complete_device,
            help="Also profile on this device; see `mvt devices`. Repeatable. Default: none.",
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
    random_weights: RandomWeights = False,
    input_size: InputSize = None,
    option: Options = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help=f"{', '.join(CALIBRATED)}: folder of calibration photos.")
    ] = None,
    calibration_size: Annotated[
        int | None,
        typer.Option("--calibration-size", min=1, help=f"Number of calibration photos. Default: {DEFAULT_SIZE}."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Time limit per cell, in seconds.")] = 600.0,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="JSON output of an earlier run; a regression is exit code 4."),
    ] = None,
    max_size_growth: Annotated[
        str | None, typer.Option("--max-size-growth", help="Allowed growth of an artifact's size. Default: 2%.")
    ] = None,
    max_snr_loss: Annotated[
        float | None,
        typer.Option("--max-snr-loss", min=0, callback=finite, help="Allowed loss of SNR in dB. Default: 6."),
    ] = None,
    max_new_calls: Annotated[
        int | None,
        typer.Option("--max-new-calls", min=0, help="Allowed number of additional delegate calls. Default: 0."),
    ] = None,
    max_new_outside: Annotated[
        int | None,
        typer.Option(
            "--max-new-outside", min=0, help="Allowed number of additional non-delegated operators. Default: 0."
        ),
    ] = None,
    max_instruction_growth: Annotated[
        str | None,
        typer.Option("--max-instruction-growth", help="Allowed growth of the instruction count. Default: 2%."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the result as JSON to this file, also on failure.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML to this file.")] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep the artifacts in this folder, which must be new.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing --output and --junit files.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Export and verify a matrix of models, targets, precisions and devices, each cell in a separate process.

    The exit code is that of the worst cell: 1 (crash or hang), then 2, 3, 5, 6, and 4 (gate or regression). A
    Markdown summary is appended to the file in $GITHUB_STEP_SUMMARY.
    """
    with command_output("smoke", as_json=as_json, verbosity=verbose, on_failure=_render) as out:
        parse_size(input_size)
        bounds = {
            "--max-size-growth": max_size_growth,
            "--max-snr-loss": max_snr_loss,
            "--max-new-calls": max_new_calls,
            "--max-new-outside": max_new_outside,
            "--max-instruction-growth": max_instruction_growth,
        }
        check_bounds("--baseline", baseline, bounds)
        from mobilevit_tools.api.smoke import smoke as run

        result = run(
            models or (),
            targets=target,
            precisions=precision or ("fp32",),
            backends=backend or (),
            devices=device or (),
            checkpoint=checkpoint,
            random_weights=random_weights,
            input_size=input_size,
            options=option or (),
            calibration=calibration,
            calibration_size=calibration_size,
            timeout_s=timeout,
            baseline=baseline,
            margins=_margins(max_size_growth, max_snr_loss, max_new_calls, max_new_outside, max_instruction_growth),
            output=output,
            junit=junit,
            summary=Path(summary) if (summary := os.environ.get(SUMMARY_VARIABLE)) else None,
            keep=keep,
            overwrite=overwrite,
            progress=out.progress,
            finished=_teller(out),
        )
        out.show(result, _render)


def _margins(
    size: str | None, snr_db: float | None, calls: int | None, outside: int | None, count: str | None
) -> Margins:
    """Return the default margins with those that were given."""
    from mobilevit_tools.matrix.baseline import Margins

    given: dict[str, Any] = {
        "size": None if size is None else parse_share(size),
        "snr_db": snr_db,
        "calls": calls,
        "outside": outside,
        "instructions": None if count is None else parse_share(count),
    }
    return replace(Margins(), **{name: margin for name, margin in given.items() if margin is not None})


def _teller(out: Output) -> Finished:
    """Tell on stderr of each cell that is finished."""
    from mobilevit_tools.cli.tables import verdict

    def tell(result: CellResult, number: int, total: int) -> None:
        out.log.print(
            f"\\[{number}/{total}] {escape(result.cell.name)}: {verdict(result.status)}, {result.seconds:.1f} s",
            highlight=False,
            soft_wrap=True,
        )

    return tell


def _render(console: Console, result: SmokeResult) -> None:
    from mobilevit_tools.cli.tables import verdict
    from mobilevit_tools.matrix.figures import HEADINGS, Figures

    table = Table(box=None, header_style="bold")
    table.add_column("cell", overflow="fold")
    for heading in HEADINGS:
        table.add_column(heading, justify="right", min_width=len(heading))
    table.add_column("", no_wrap=True)
    for cell in result.cells:
        shown = Figures.of(cell).texts(cell.seconds)
        table.add_row(escape(cell.cell.name), *shown, verdict(result.verdict(cell)))
    console.print(table)
    for cell in result.cells:
        complaints = result.complaints(cell.cell.name)
        for line in (*complaints, *([cell.hint] if cell.hint else [])):
            console.print(f"{escape(cell.cell.name)}: {escape(line)}", highlight=False, soft_wrap=True)
        if cell.command:
            console.print(f"  {escape(cell.command)}", style="cyan", highlight=False, soft_wrap=True)
    for line in result.notes:
        console.print(escape(line), style="dim", highlight=False, soft_wrap=True)
