"""How the results of benchmarks are printed: tables in Markdown, to be pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import MARKDOWN
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from mobilevit_tools.api.bench import BenchResult
    from mobilevit_tools.api.export_bench import ExportBench, ExportCost, TogetherCost
    from mobilevit_tools.api.precision_bench import PrecisionBench
    from mobilevit_tools.api.runtimes_bench import RuntimesBench
    from mobilevit_tools.api.zoo import ZooResult
    from mobilevit_tools.profiling.result import ProfileResult
    from mobilevit_tools.profiling.statistics import Comparison

COLUMNS = 300
"""A table in Markdown cannot break its lines."""
WIDEST_REASON = 120


def render_rewrites(console: Console, result: BenchResult) -> None:
    """Print what each rewrite gains."""
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


def render_precisions(console: Console, result: PrecisionBench) -> None:
    """Print a model in every precision."""
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


def render_runtimes(console: Console, result: RuntimesBench) -> None:
    """Print the same models on several runtimes."""
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


def render_zoo(console: Console, result: ZooResult) -> None:
    """Print what became of each model, and each target's pass rate."""
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


def render_export(console: Console, result: ExportBench) -> None:
    """Print the CPU time of exports, and the wall time of exports to several targets at once."""
    from statistics import median

    versions = [f"{each} (CPU s)" for each in (result.version, result.against) if each is not None]
    table = _table(("model", "target"), versions, remark="ratio (95 %)")
    for cost in result.costs:
        medians = [f"{median(each):.2f}" for each in (cost.seconds, cost.against) if each]
        table.add_row(escape(cost.model), cost.target, *medians, _ratio(cost))
    _print(console, table)
    if result.together:
        table = _table(("model", "slowest target"), ("all targets (s)", "slowest alone (s)"), remark="ratio (95 %)")
        for each in result.together:
            medians = [f"{median(seconds):.2f}" for seconds in (each.seconds, each.alone)]
            table.add_row(escape(each.model), each.slowest, *medians, _ratio(each))
        _print(console, table)


def _ratio(cost: ExportCost | TogetherCost) -> str:
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
