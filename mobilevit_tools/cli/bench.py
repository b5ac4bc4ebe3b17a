"""``mvt bench``: benchmarks of this toolkit's own promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import MARKDOWN
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import (
    AsJson,
    CheckpointOption,
    ClassOrderOption,
    InputSize,
    Model,
    Models,
    Rigor,
    Targets,
    Threads,
    Verbosity,
)
from mobilevit_tools.cli.completion import complete_model, complete_target
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.targets.registry import STANDARD, TARGETS, host_targets

if TYPE_CHECKING:
    from mobilevit_tools.api.bench import BenchResult
    from mobilevit_tools.api.export_bench import ExportBench, ExportCost
    from mobilevit_tools.api.precision_bench import PrecisionBench
    from mobilevit_tools.api.runtimes_bench import RuntimesBench
    from mobilevit_tools.api.zoo import ZooResult
    from mobilevit_tools.profiling.result import ProfileResult
    from mobilevit_tools.profiling.statistics import Comparison

COLUMNS = 300
"""A table in Markdown cannot break its lines."""
WIDEST_REASON = 120

bench = typer.Typer(
    name="bench",
    help="Run benchmarks of rewrites, precisions, exports and third-party models.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@bench.command()
def rewrites(
    models: Annotated[
        list[str],
        typer.Argument(help="Models, as `mvt models` lists them.", show_default=False, autocompletion=complete_model),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            autocompletion=complete_target,
            help=f"{', '.join(host_targets())}. Repeatable. Default: all.",
        ),
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option("--threads", min=1, help="Threads of one inference. Repeatable. Default: 1.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="host: latency; count: instructions. Default: host."),
    ] = None,
    input_size: InputSize = None,
    rigor: Rigor = "default",
    each: Annotated[bool, typer.Option("--each", help="Also measure without each single rewrite.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure models with and without deployment rewrites, alternately, with intervals."""
    with command_output("bench rewrites", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.bench import bench_rewrites

        result = bench_rewrites(
            models,
            targets=target,
            devices=device or ("host",),
            threads=threads or (1,),
            input_size=parse_size(input_size),
            rigor=rigor,
            each=each,
            progress=output.progress,
        )
        output.show(result, _render_rewrites)


@bench.command()
def precisions(
    model: Model,
    calibration: Annotated[Path, typer.Option("--calibration", help="Folder of calibration photos.")],
    eval_data: Annotated[
        Path, typer.Option("--eval", help="Labelled photos, not used for calibration: an ImageFolder or a CSV.")
    ],
    class_order: ClassOrderOption = None,
    checkpoint: CheckpointOption = None,
    calibration_size: Annotated[int, typer.Option("--calibration-size", help="Number of calibration photos.")] = 200,
    target: Targets = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision", help="Precisions to compare with fp32. Repeatable. Default: all that the target has."
        ),
    ] = None,
    threads: Threads = 1,
    rigor: Rigor = "default",
    count: Annotated[bool, typer.Option("--count", help="Also count instructions with the count device.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure a model in every precision: size, top-1, agreement, latency against fp32, instructions."""
    with command_output("bench precisions", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.precision_bench import bench_precisions
        from mobilevit_tools.data.class_order import parse_class_order

        result = bench_precisions(
            model,
            calibration=calibration,
            eval_data=eval_data,
            class_order=None if class_order is None else parse_class_order(class_order),
            checkpoint=checkpoint,
            calibration_size=calibration_size,
            targets=target or STANDARD,
            precisions=precision,
            threads=threads,
            rigor=rigor,
            count=count,
            progress=output.progress,
        )
        output.show(result, _render_precisions)


@bench.command()
def runtimes(
    models: Models,
    target: Targets = None,
    reference: Annotated[
        str, typer.Option("--reference", help="The target that the others are measured against.")
    ] = STANDARD[0],
    precision: Annotated[str, typer.Option("--precision", help="A precision of all targets.")] = "fp32",
    threads: Threads = 1,
    rigor: Rigor = "default",
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Compare runtimes: size, parity, delegation, and latency measured alternately with one of them."""
    with command_output("bench runtimes", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.runtimes_bench import bench_runtimes

        result = bench_runtimes(
            models,
            targets=target or tuple(TARGETS),
            reference=reference,
            precision=precision,
            threads=threads,
            rigor=rigor,
            progress=output.progress,
        )
        output.show(result, _render_runtimes)


@bench.command()
def zoo(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models. Default: compact ones of timm.", show_default=False, autocompletion=complete_model
        ),
    ] = None,
    target: Targets = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="Precisions, where a target has them. Repeatable. Default: fp32."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="int8: folder of calibration photos.")
    ] = None,
    calibration_size: Annotated[int, typer.Option("--calibration-size", help="Number of calibration photos.")] = 200,
    input_size: InputSize = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Also compare each with the target's own lowering, measured alternately.")
    ] = False,
    rigor: Rigor = "quick",
    timeout: Annotated[float, typer.Option("--timeout", help="Time limit per export, in seconds.")] = 900.0,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Export and verify many third-party models: pass rate, parity, delegation and speed by target."""
    with command_output("bench zoo", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.zoo import ZOO, bench_zoo

        result = bench_zoo(
            models or ZOO,
            targets=target or STANDARD,
            precisions=precision or ("fp32",),
            calibration=calibration,
            calibration_size=calibration_size,
            input_size=parse_size(input_size),
            latency=latency,
            rigor=rigor,
            timeout_s=timeout,
            progress=output.progress,
        )
        output.show(result, _render_zoo)


@bench.command()
def export(
    models: Models,
    target: Targets = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Python interpreter of an environment with another version, to compare with."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each is measured.")] = 6,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Measure the CPU time of exports, alternately with another installed version, with intervals."""
    with command_output("bench export", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.export_bench import bench_export

        result = bench_export(
            models, targets=target or STANDARD, against=against, rounds=rounds, progress=output.progress
        )
        output.show(result, _render_export)


def _render_rewrites(console: Console, result: BenchResult) -> None:
    table = _table(("model", "target", "rewrite"), ("threads", "without", "with", "speed-up (95 %)"), remark="flags")
    for gain in result.gains:
        what = (escape(gain.model), gain.deployment, gain.rewrite, str(gain.threads))
        if gain.measured is None:
            table.add_row(*what, "-", "-", "same bytes")
            continue
        a, b = gain.measured.a, gain.measured.b
        table.add_row(
            *what,
            _amount(a),
            _amount(b),
            _speed_up(gain.measured.comparison),
            escape(", ".join(sorted({*a.flags, *b.flags}))),
        )
    _print(console, table)


def _render_precisions(console: Console, result: PrecisionBench) -> None:
    from mobilevit_tools.cli.tables import number, size

    table = _table(
        ("target", "precision"),
        ("size", "of fp32", "top-1 (95 %)", "agreement", "worst dB", "latency", "speed-up (95 %)", "instructions"),
        remark="gate",
    )
    for row in result.rows:
        low, high = row.accuracy.interval
        table.add_row(
            row.artifact.target,
            row.artifact.precision,
            size(row.artifact.size_bytes),
            f"{row.size_ratio:.1%}",
            f"{row.accuracy.top1:.2%} ({low:.1%} to {high:.1%})",
            number(row.accuracy.agreement, ".2%"),
            number(row.artifact.parity.snr_db, ".1f"),
            "-" if row.speed is None else _amount(row.speed.b),
            "-" if row.speed is None else _speed_up(row.speed.comparison),
            "-" if row.instructions is None else _instructions(row.instructions),
            row.artifact.parity.status.replace("_", " "),
        )
    _print(console, table)


def _render_runtimes(console: Console, result: RuntimesBench) -> None:
    from mobilevit_tools.cli.tables import number, size

    table = _table(
        ("model", "runtime"),
        ("size", "SNR dB", "calls", "outside", f"time of {result.reference}'s (95 %)"),
        remark="why",
    )
    for row in result.rows:
        made, delegation = row.artifact, None if row.artifact is None else row.artifact.delegation
        table.add_row(
            escape(row.model),
            row.deployment,
            "-" if made is None else size(made.size_bytes),
            "-" if made is None else number(made.parity.snr_db, ".1f"),
            "-" if delegation is None else str(delegation.calls),
            "-" if delegation is None else str(sum(delegation.outside.values())),
            _relative(row.measured.comparison) if row.measured is not None else "1" if row.is_reference else "-",
            escape(_cut(row.reason or "")),
        )
    _print(console, table)
    for name, command in result.missing.items():
        _print(console, escape(f"{name} is not installed: {command}"))
    versions = (f"{name} {version}" for name, version in sorted(result.tools.items()))
    _print(console, ", ".join(versions))


def _relative(comparison: Comparison) -> str:
    text = f"{comparison.ratio:.2f}"
    if comparison.interval is None:
        return f"{text} (too few runs)"
    low, high = comparison.interval
    return f"{text} ({low:.2f} to {high:.2f})"


def _render_zoo(console: Console, result: ZooResult) -> None:
    from mobilevit_tools.cli.tables import number
    from mobilevit_tools.matrix.figures import Figures

    table = _table(
        ("model", "target", "precision", "result"),
        ("SNR dB", "quantized", "calls", "outside", "MACs", "seconds", "speed-up (95 %)"),
        remark="why",
    )
    for row in result.rows:
        known = Figures.of(row.result)
        table.add_row(
            escape(row.result.cell.model),
            row.result.cell.target,
            row.result.cell.precision,
            row.result.code or "passed",
            number(known.snr_db, ".1f"),
            number(row.quantized_share, ".1%"),
            number(known.calls, "d"),
            number(known.outside, "d"),
            number(row.macs_share, ".1%"),
            f"{row.result.seconds:.0f}",
            "-" if row.speed is None else _speed_up(row.speed.comparison),
            escape(_cut(row.result.message or "")),
        )
    _print(console, table)
    for variant, rate in result.rates.items():
        _print(console, f"{variant}: {rate.passed} of {rate.models} passed")


def _render_export(console: Console, result: ExportBench) -> None:
    from statistics import median

    versions = [f"{each} (CPU s)" for each in (result.version, result.against) if each is not None]
    table = _table(("model", "target"), versions, remark="ratio (95 %)")
    for cost in result.costs:
        medians = [f"{median(each):.2f}" for each in (cost.seconds, cost.against) if each]
        table.add_row(escape(cost.model), cost.target, *medians, _ratio(cost))
    _print(console, table)


def _ratio(cost: ExportCost) -> str:
    if cost.ratio is None:
        return "-"
    if cost.interval is None:
        return f"{cost.ratio:.3f} (too few rounds)"
    low, high = cost.interval
    return f"{cost.ratio:.3f} ({low:.3f} to {high:.3f})"


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST_REASON else f"{text[: WIDEST_REASON - 1]}…"


def _table(texts: Sequence[str], numbers: Sequence[str], *, remark: str) -> Table:
    """Return an empty table in Markdown, to be pasted."""
    table = Table(box=MARKDOWN)
    for title in texts:
        table.add_column(title, no_wrap=True)
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(remark, no_wrap=True)
    return table


def _print(console: Console, what: Table | str) -> None:
    Console(file=console.file, width=COLUMNS, emoji=False).print(what, highlight=False)


def _amount(measured: ProfileResult) -> str:
    if measured.latency_ms is not None:
        return f"{measured.latency_ms.p50:.2f} ms"
    return "-" if measured.instructions is None else _instructions(measured.instructions)


def _instructions(count: int) -> str:
    return f"{count / 1e6:,.1f} M"


def _speed_up(comparison: Comparison) -> str:
    text = f"{1 / comparison.ratio:.3f}x"
    if comparison.interval is None:
        return f"{text} (too few runs)"
    low, high = 1 / comparison.interval[1], 1 / comparison.interval[0]
    return text if low == high else f"{text} ({low:.3f} to {high:.3f})"
