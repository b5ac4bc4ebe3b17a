"""``mvt diff``: what changed between two artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import AsJson, Verbosity
from mobilevit_tools.cli.output import command_output

if TYPE_CHECKING:
    from mobilevit_tools.api.diff import DiffResult
    from mobilevit_tools.comparison.facts import Change
    from mobilevit_tools.comparison.graph import GraphDiff
    from mobilevit_tools.comparison.latency import LatencyDiff
    from mobilevit_tools.comparison.stored import Weight
    from mobilevit_tools.comparison.weights import WeightsDiff
    from mobilevit_tools.jsonable import JsonValue
    from mobilevit_tools.runtimes._base import TensorInfo

SHOWN_WEIGHTS = 5
SHOWN_CHARACTERS = 80
_SIDE = "An artifact, its export folder, or its manifest.json."


def diff(
    a: Annotated[Path, typer.Argument(help=_SIDE, show_default=False)],
    b: Annotated[Path, typer.Argument(help=_SIDE, show_default=False)],
    profiles: Annotated[
        tuple[Path, Path] | None, typer.Option("--profiles", help="Outputs of `mvt profile --json` for A and for B.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Compare two artifacts: graph, weights, precision, size, parity, latency."""
    with command_output("diff", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.diff import diff as compare

        output.show(compare(a, b, profiles=profiles, progress=output.progress), _render)


def _render(console: Console, result: DiffResult) -> None:
    from mobilevit_tools.cli.tables import size

    for name, side in (("a", result.a), ("b", result.b)):
        console.print(
            f"[bold]{name}[/] {escape(str(side.path))}: {side.target}, {size(side.size_bytes)}, sha256 "
            f"{escape(side.sha256[:12])}",
            highlight=False,
            soft_wrap=True,
        )
    if result.identical:
        console.print("[green]The artifacts are identical.[/]")
    else:
        delta = result.b.size_bytes - result.a.size_bytes
        console.print(f"size: {delta:+,} bytes ({result.b.size_bytes / max(1, result.a.size_bytes) - 1:+.1%})")
    if result.graph is not None:
        _render_graph(console, result.graph)
    if result.weights is not None:
        _render_weights(console, result.weights)
    for section, changes in result.changes.items():
        console.print(_table(section, [_row(change) for change in changes]))
    if result.latency is not None:
        _render_latency(console, result.latency)
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)


def _render_graph(console: Console, graph: GraphDiff) -> None:
    rows = [(change.type, str(change.a), str(change.b)) for change in graph.operators]
    rows += [
        (change.type, _counts(change.precisions_a), _counts(change.precisions_b))
        for change in graph.operators
        if change.a == change.b
    ]
    for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        rows += [(f"{kind} {change.position}", _tensor(change.a), _tensor(change.b)) for change in tensors]
    if rows:
        rows.append(("all operators", str(graph.operators_a), str(graph.operators_b)))
        console.print(_table("graph", rows))
    else:
        console.print(f"graph: the same {graph.operators_a} operators by count, inputs and outputs", highlight=False)


def _render_weights(console: Console, weights: WeightsDiff) -> None:
    from mobilevit_tools.cli.tables import size

    renamed = f", {weights.renamed} of them renamed" if weights.renamed else ""
    console.print(
        f"weights, matched by {weights.matched_by}: {weights.same} the same ({size(weights.same_bytes)}){renamed}, "
        f"{len(weights.changed)} changed, {len(weights.only_a)} only in a, {len(weights.only_b)} only in b",
        highlight=False,
        soft_wrap=True,
    )
    rows = [
        (change.a.name, _weight(change.a), f"{_weight(change.b)}, other content")
        for change in weights.changed[:SHOWN_WEIGHTS]
    ]
    rows += [(_weight_name(each), _weight(each), "-") for each in weights.only_a[:SHOWN_WEIGHTS]]
    rows += [(_weight_name(each), "-", _weight(each)) for each in weights.only_b[:SHOWN_WEIGHTS]]
    if rows:
        console.print(_table("weights", rows))
    for note in weights.notes:
        console.print(f"[dim]{escape(note)}[/]", highlight=False, soft_wrap=True)


def _render_latency(console: Console, latency: LatencyDiff) -> None:
    from mobilevit_tools.cli.tables import spread

    sides = (
        (latency.place_a, latency.p50_a, latency.interval_a, latency.instructions_a),
        (latency.place_b, latency.p50_b, latency.interval_b, latency.instructions_b),
    )
    figures = []
    for _, p50, interval, instructions in sides:
        counted = "-" if instructions is None else f"{instructions:,} instructions"
        figures.append(counted if p50 is None else f"{p50:.2f} ms{spread(interval)}")
    console.print(_table("latency", [("where", *(place for place, *_ in sides)), ("median", *figures)]))
    verdict = "b is " * (latency.verdict in ("faster", "slower")) + (latency.verdict or "no comparison")
    flags = f" Flags: {', '.join(flag.replace('_', ' ') for flag in latency.flags)}." if latency.flags else ""
    console.print(f"latency: [bold]{verdict}[/]. {escape(latency.reason + flags)}", highlight=False)


def _table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="bold")
    for heading in (title, "a", "b"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _row(change: Change) -> tuple[str, str, str]:
    return change.field, _value(change.a), _value(change.b)


def _value(value: JsonValue) -> str:
    text = value if isinstance(value, str) else "-" if value is None else json.dumps(value)
    if isinstance(value, float):
        text = f"{value:.6g}"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _tensor(info: TensorInfo | None) -> str:
    return "-" if info is None else f"{info.name}: {info.kind} {info.dtype} {_shape(info.shape)}"


def _shape(shape: Sequence[int | None]) -> str:
    return "x".join("?" if side is None else str(side) for side in shape)


def _counts(precisions: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in precisions.items()) or "-"


def _weight_name(weight: Weight) -> str:
    return weight.name or f"content {weight.sha256[:12]}"


def _weight(weight: Weight) -> str:
    """Describe a weight: its type and shape where the format keeps them, else its size."""
    return f"{weight.dtype} {_shape(weight.shape)}" if weight.shape else f"{weight.size_bytes:,} bytes"
