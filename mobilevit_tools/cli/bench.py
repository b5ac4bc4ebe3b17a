"""``mvt bench``: benchmarks of this toolkit's own promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mobilevit_tools.cli.arguments import AsJson, InputSize, Verbosity, parse_size
from mobilevit_tools.cli.output import command_output

if TYPE_CHECKING:
    from mobilevit_tools.api.bench import BenchResult
    from mobilevit_tools.profiling.result import ProfileResult

bench = typer.Typer(
    name="bench",
    help="Measure what this toolkit promises, on this machine.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@bench.callback()
def _group() -> None:
    """Keep the verb below a group of its own, although it is the only one."""


@bench.command()
def rewrites(
    models: Annotated[list[str], typer.Argument(help="Models, as `mvt models` lists them.", show_default=False)],
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="onnx or executorch. Repeatable. Default: both.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option("--threads", min=1, help="Threads of one inference. Repeatable. Default: 1.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="host: latency; count: instructions. Default: host."),
    ] = None,
    input_size: InputSize = None,
    rigor: Annotated[str, typer.Option("--rigor", help="quick, default or mlperf: how many runs.")] = "default",
    each: Annotated[bool, typer.Option("--each", help="Also leave out each rewrite on its own.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure models with their deployment rewrites and without, in turns, with intervals."""
    with command_output("bench rewrites", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.bench import MEASURABLE, bench_rewrites

        result = bench_rewrites(
            models,
            targets=target or MEASURABLE,
            devices=device or ("host",),
            threads=threads or (1,),
            input_size=parse_size(input_size),
            rigor=rigor,
            each=each,
            progress=output.progress,
        )
        output.show(result, _render)


def _render(console: Console, result: BenchResult) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("model", "target", "rewrite"):
        table.add_column(title)
    for title in ("threads", "without", "with", "speed-up", "95 % interval"):
        table.add_column(title, justify="right")
    table.add_column("flags")
    for gain in result.gains:
        a, b, comparison = gain.measured.a, gain.measured.b, gain.measured.comparison
        interval = comparison.interval
        table.add_row(
            gain.model,
            gain.deployment,
            gain.rewrite,
            str(gain.threads),
            _amount(a),
            _amount(b),
            f"{1 / comparison.ratio:.3f}x",
            "too few runs" if interval is None else f"{1 / interval[1]:.3f} to {1 / interval[0]:.3f}",
            ", ".join(sorted({*a.flags, *b.flags})),
        )
    console.print(table)


def _amount(measured: ProfileResult) -> str:
    if measured.latency_ms is not None:
        return f"{measured.latency_ms.p50:.2f} ms"
    return "" if measured.instructions is None else f"{measured.instructions / 1e6:,.1f} M instr."
