"""``mvt profile``: how fast an artifact runs, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import Artifact, AsJson, Rigor, Threads, Verbosity, check_bounds, parse_share
from mobilevit_tools.cli.completion import complete_device
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.errors import UsageError
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.analysis.lifetimes import ActivationPeak
    from mobilevit_tools.devices import OperatorTime
    from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
    from mobilevit_tools.profiling.statistics import LatencySummary

MAX_REGRESS = "2%"
SLOWEST = 10
"""How many operators or tensors people are shown."""


def profile(
    artifact: Artifact,
    device: Annotated[
        str, typer.Option("--device", autocompletion=complete_device, help="Device to run on; see `mvt devices`.")
    ] = "host",
    threads: Threads = 1,
    rigor: Rigor = "default",
    per_op: Annotated[
        bool, typer.Option("--per-op", help="Also measure operators: time by type, and the ten slowest.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Only measure memory, in one inference: no times.")] = False,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write operator times for Chrome's trace viewer or Perfetto.")
    ] = None,
    node_data: Annotated[
        Path | None,
        typer.Option(
            "--node-data", help="Write operator times for Model Explorer, over the .json of `mvt inspect --graph`."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing --trace and --node-data files.")
    ] = False,
    compare: Annotated[Path | None, typer.Option("--compare", help="A second artifact, measured alternately.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Baseline: output of an earlier `mvt profile --json`.")
    ] = None,
    max_regress: Annotated[
        str | None,
        typer.Option(
            "--max-regress", help=f"Maximum slowdown against --against; more is exit code 4. Default: {MAX_REGRESS}."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure an artifact: latency with an interval, load time, memory, instructions, operators."""
    with command_output("profile", as_json=as_json, verbosity=verbose, on_failure=render) as output:
        check_bounds("--against", against, {"--max-regress": max_regress})
        allowed = parse_share(MAX_REGRESS if max_regress is None else max_regress)
        if compare is not None and (per_op or memory or overwrite or trace or node_data or against):
            raise UsageError("--compare cannot be combined with these options.", hint="Omit the other options.")
        if overwrite and trace is None and node_data is None:
            raise UsageError("--overwrite requires --trace or --node-data.", hint="Add one, or omit --overwrite.")
        from mobilevit_tools.api import profile as measuring

        if compare is not None:
            compared = measuring.compare(
                artifact, compare, device=device, threads=threads, rigor=rigor, progress=output.progress
            )
            output.show(compared, _render_comparison)
            return
        result = measuring.profile(
            artifact,
            device=device,
            threads=threads,
            rigor=rigor,
            per_op=per_op,
            trace=trace,
            node_data=node_data,
            overwrite=overwrite,
            against=against,
            max_regress=allowed,
            memory=memory,
            progress=output.progress,
        )
        output.show(result, render)


def _render_comparison(console: Console, result: ComparisonResult) -> None:
    for measured in (result.a, result.b):
        render(console, measured)
    comparison = result.comparison
    interval = ""
    if comparison.interval is not None and comparison.interval[0] != comparison.interval[1]:
        interval = f", 95 % interval {comparison.interval[0]:.3f} to {comparison.interval[1]:.3f}"
    console.print(
        f"{escape(str(result.b.artifact))} against {escape(str(result.a.artifact))}: [bold]{comparison.verdict}[/] "
        f"(ratio {comparison.ratio:.4f}{interval})",
        highlight=False,
        soft_wrap=True,
    )


def render(console: Console, result: ProfileResult) -> None:
    """Print one measurement as a table."""
    console.print(escape(str(result.artifact)), highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    if result.latency_ms is not None:
        _add_latency(table, result.latency_ms)
    _add_cost(table, result)
    _add_place(table, result)
    console.print(table)
    for other, milliseconds in result.published_ms.items():
        console.print(
            f"published on another device: {milliseconds} ms on {escape(other)}", style="dim", highlight=False
        )
    if result.activations is not None:
        _print_live(console, result.activations)
    if result.per_op is not None:
        _print_operators(console, result.per_op)
    for flag in result.flags:
        console.print(f"[yellow]flag:[/] {escape(flag.replace('_', ' '))}", highlight=False)
    if result.regression is not None and not result.regression.regressed:
        console.print(f"no regression: {result.regression.in_words}", highlight=False, soft_wrap=True)


def _add_cost(table: Table, result: ProfileResult) -> None:
    """Add what the artifact takes beside the time of an inference."""
    from mobilevit_tools.cli.tables import number, size

    if result.load_ms is not None:
        table.add_row("load, first run", f"{result.load_ms:.1f}, {number(result.first_ms, '.1f')} ms", "")
    if result.instructions is not None:
        table.add_row("instructions", f"{result.instructions:,}", "exact, per inference")
    if result.peak_memory_bytes is not None:
        baseline = result.baseline_memory_bytes
        own = "" if baseline is None else f"{size(result.peak_memory_bytes - baseline)} for the artifact"
        table.add_row("peak memory", size(result.peak_memory_bytes), own)
    if result.activations is not None:
        peak = result.activations
        table.add_row("activations", size(peak.peak_bytes), f"peak, at {escape(peak.where)} ({escape(peak.operator)})")
    table.add_row("artifact size", size(result.size_bytes), "")
    if result.params is not None and result.macs is not None:
        table.add_row("params, MACs", f"{result.params / 1e6:.2f} M, {result.macs / 1e9:.3f} G", "")


def _add_place(table: Table, result: ProfileResult) -> None:
    """Add where it ran, and what the device says."""
    from mobilevit_tools.cli.tables import add_partitioning, number
    from mobilevit_tools.profiling.result import PROGRAM

    if result.difference is not None:
        table.add_row("outputs", f"{number(result.difference.snr_db, '.1f')} dB", "against this host")
    for unit, count in result.placement or ():
        table.add_row(escape(unit), str(count), "operators")
    if result.partitioning is not None:
        add_partitioning(table, result.partitioning)
    cpu = "" if result.host is None else f", {escape(result.host.cpu)}"
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}{cpu}"
    table.add_row("where", escape(result.device), "nothing ran" if result.device == PROGRAM else threads)


def _print_live(console: Console, peak: ActivationPeak) -> None:
    from mobilevit_tools.cli.tables import size

    table = Table(box=None)
    table.add_column("alive at the peak", overflow="ellipsis", no_wrap=True)
    table.add_column("operator")
    table.add_column("shape")
    table.add_column("size", justify="right")
    for tensor in peak.live[:SLOWEST]:
        shape = "x".join(map(str, tensor.shape)) or "-"
        table.add_row(escape(tensor.where), escape(tensor.operator), shape, size(tensor.size_bytes))
    console.print(table)
    if len(peak.live) > SLOWEST:
        console.print(f"all {len(peak.live)} tensors: --json", style="dim", highlight=False)


def _add_latency(table: Table, latency: LatencySummary) -> None:
    from mobilevit_tools.cli.tables import number

    spread = "too few runs for an interval"
    if latency.interval is not None:
        spread = f"95 % interval {latency.interval[0]:.2f} to {latency.interval[1]:.2f}"
    table.add_row("median latency", f"{latency.p50:.2f} ms", f"{spread}, {number_of(latency.n, 'runs')}")
    table.add_row("p90, p99", f"{latency.p90:.2f}, {number(latency.p99, '.2f')} ms", "p99 requires 500 runs")
    table.add_row("min, mean, std", f"{latency.min:.2f}, {latency.mean:.2f}, {latency.std:.2f} ms", "")


def _print_operators(console: Console, operators: Sequence[OperatorTime]) -> None:
    """Print the time of each operator type, and the slowest operators; ``--json`` has all of them."""
    from mobilevit_tools.profiling.kinds import by_kind

    total = sum(operator.ms for operator in operators)
    kinds = _times_table("operator type", "operators", "where")
    for share in by_kind(operators):
        where = "delegated" if share.delegate else "not delegated"
        kinds.add_row(escape(share.name), *_time(share.ms, total), str(share.operators), where)
    kinds.add_section()
    kinds.add_row("all", f"{total:.3f}", "", str(len(operators)), "", style="bold")
    slowest = _times_table("slowest operators", "type")
    for operator in sorted(operators, key=lambda each: -each.ms)[:SLOWEST]:
        slowest.add_row(escape(operator.name), *_time(operator.ms, total), escape(operator.kind))
    console.print(kinds)
    console.print(slowest)
    if len(operators) > SLOWEST:
        console.print(f"all {len(operators)} operators: --json or --trace", style="dim", highlight=False)


def _times_table(subject: str, *more: str) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column(subject, no_wrap=True, overflow="ellipsis")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for heading in more:
        table.add_column(heading, no_wrap=True)
    return table


def _time(milliseconds: float, total: float) -> tuple[str, str]:
    return f"{milliseconds:.3f}", f"{milliseconds / total if total else 0.0:.1%}"
