"""``mvt sweep``: a whole matrix from one file, resumed where it stopped, here or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import AsJson, Verbosity
from mobilevit_tools.cli.output import Output, command_output
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.api.sweep import Outlook, SweepResult
    from mobilevit_tools.sweeping.schedule import Event, Watch
    from mobilevit_tools.sweeping.table import Row


def sweep(
    plan: Annotated[
        Path, typer.Argument(help="A TOML file: models, targets, precisions, devices.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", help="Output folder. Cells that are finished there are not run again.")
    ] = Path("sweep"),
    engine: Annotated[str, typer.Option("--engine", help="local or ray.")] = "local",
    address: Annotated[
        str, typer.Option("--address", help="The Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Local: number of parallel cells. Default: half the number of CPUs."),
    ] = None,
    allow_contention: Annotated[
        bool,
        typer.Option("--allow-contention", help="Allow other cells to run on a machine while it measures latency."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells that failed their gate again.")
    ] = False,
    keep_artifacts: Annotated[
        bool, typer.Option("--keep-artifacts", help="Keep all artifacts in the output folder.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Run a matrix of models, targets, precisions and devices, and resume it after an interruption.

    The exit code is that of the worst cell: 1 (crash or hang), then 2, 3, 5, 6, and 4 (gate).
    """
    with command_output("sweep", as_json=as_json, verbosity=verbose, on_failure=_render) as out:
        from mobilevit_tools.api.sweep import sweep as run

        out.left_behind = f"finished cells are kept in {output}; the same command resumes the sweep"
        result = run(
            plan,
            output=output,
            engine=engine,
            address=address,
            jobs=jobs,
            allow_contention=allow_contention,
            retry_failed=retry_failed,
            keep_artifacts=keep_artifacts,
            spectator=_spectator(out),
        )
        out.show(result, _render)


def _spectator(out: Output) -> Callable[[Outlook], AbstractContextManager[Watch]]:
    """Tell on stderr what runs: a line for each finished cell, and on a terminal what runs at the moment."""

    @contextmanager
    def watched(outlook: Outlook) -> Iterator[Watch]:
        import time

        from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

        from mobilevit_tools.cli.tables import verdict
        from mobilevit_tools.progress import left_in_words, seconds_left

        def say(line: str) -> None:
            out.log.print(line, highlight=False, soft_wrap=True)

        cells = len(outlook.labels)
        if outlook.torn is not None:
            say(f"[yellow]{escape(outlook.torn)}[/]")
        if outlook.reused:
            say(f"{outlook.reused} of {cells} cells are already finished.")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        done = outlook.reused
        started = time.monotonic()
        hidden, calm = not out.watched, 1  # a second: drawing must not disturb what is measured
        with Progress(*columns, console=out.log, disable=hidden, transient=True, refresh_per_second=calm) as display:
            overall = display.add_task(f"{done} of {cells} cells", total=None)
            running: dict[str, TaskID] = {}

            def tell(event: Event) -> None:
                nonlocal done
                digest, name = event.job.digest, escape(outlook.labels[event.job.cell].cell)
                if event.result is None:
                    running[digest] = display.add_task(name, total=None)
                    return
                if digest in running:
                    display.remove_task(running.pop(digest))
                done += event.kind == "finished"
                # Cells that run side by side are counted as they end: their rate says how long the others take.
                fresh = done - outlook.reused
                left = left_in_words(seconds_left(time.monotonic() - started, fresh, cells - outlook.reused))
                display.update(overall, description=f"{done} of {cells} cells{f', {left}' if left else ''}")
                status, seconds = verdict(event.result.status), event.result.seconds
                again = "" if event.kind == "finished" else f", once more: {escape(event.result.message or '')}"
                say(f"\\[{done}/{cells}] {name}: {status}, {seconds:.1f} s{again}")

            yield tell

    return watched


def _render(console: Console, result: SweepResult) -> None:
    from mobilevit_tools.cli.tables import number, size, verdict

    columns = {
        "params (M)": ["-" if row.params is None else f"{row.params / 1e6:.2f}" for row in result.rows],
        "GMACs": ["-" if row.macs is None else f"{row.macs / 1e9:.3f}" for row in result.rows],
        "SNR dB": [number(row.snr_db, ".1f") for row in result.rows],
        "size": ["-" if row.size_bytes is None else size(row.size_bytes) for row in result.rows],
        "median ms (95 %)": [_latency(row) for row in result.rows],
        "instructions": [number(row.instructions, ",d") for row in result.rows],
        "top-1": [number(row.top1, ".2%") for row in result.rows],
        "time": [f"{row.seconds:.0f} s" for row in result.rows],
    }
    shown = {heading: cells for heading, cells in columns.items() if set(cells) != {"-"}}
    table = Table(box=None, header_style="bold")
    table.add_column("cell", overflow="fold")
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row, *cells in zip(result.rows, *shown.values(), strict=True):
        table.add_row(escape(row.cell), *cells, verdict(row.status))
    console.print(table)
    for row in result.rows:
        if row.message:
            told = " ".join(part for part in (row.message, row.hint) if part)
            console.print(f"{escape(row.cell)}: {escape(told)}", highlight=False, soft_wrap=True)
    flagged = [(flag, row.cell) for row in result.rows if row.flags for flag in row.flags.split(", ")]
    for flag in sorted({flag for flag, _ in flagged}):
        doubtful = ", ".join(cell for found, cell in flagged if found == flag)
        console.print(f"[yellow]{flag.replace('_', ' ')}[/]: {escape(doubtful)}", highlight=False, soft_wrap=True)
    unknown = f", {result.not_verified} not verified" if result.not_verified else ""
    counts = f"{result.passed} passed{unknown}, {result.failed} failed, {number_of(result.errors, 'errors')}"
    console.print(f"{counts}; {result.reused} finished before", highlight=False)
    console.print(
        f"wrote {escape(str(result.results))} and {escape(str(result.parquet))}", highlight=False, soft_wrap=True
    )


def _latency(row: Row) -> str:
    from mobilevit_tools.cli.tables import number

    interval = f" ({row.low_ms:.2f} to {row.high_ms:.2f})" if row.low_ms is not None else ""
    return f"{number(row.p50_ms, '.2f')}{interval}"
