"""``mvt inspect``: what an artifact is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import KNOWN_PROBLEMS, Artifact, AsJson, Verbosity
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.tasks.registry import find_task
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.api.inspect import InspectResult
    from mobilevit_tools.artifacts.manifest import Manifest
    from mobilevit_tools.runtimes._base import OperatorUse, TensorInfo


def inspect(
    artifact: Artifact,
    graph: Annotated[
        Path | None,
        typer.Option(
            "--graph", help="Draw the delegation as .svg or .png, or write the graph as .json for Model Explorer."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing drawing.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Show an artifact's manifest, operators, inputs and outputs; check its digest."""
    with command_output("inspect", as_json=as_json, verbosity=verbose) as output:
        from mobilevit_tools.api.inspect import inspect as look

        output.show(look(artifact, graph=graph, overwrite=overwrite), _render)


def _render(console: Console, result: InspectResult) -> None:
    from mobilevit_tools.cli.tables import quantized_notes

    console.print(f"[bold]{escape(str(result.artifact))}[/]", highlight=False, soft_wrap=True)
    facts = Table(box=None, show_header=False)
    facts.add_column(style="dim")
    facts.add_column()
    if result.manifest is not None:
        _add_manifest(facts, result.manifest)
    else:
        facts.add_row("manifest", "none")
    if result.quantized is not None:
        for note in quantized_notes(result.quantized):
            what, _, said = note.partition(": ")
            facts.add_row(what, escape(said))
    for kind, tensors in (("input", result.inputs), ("output", result.outputs)):
        for tensor in tensors:
            facts.add_row(kind, escape(_describe(tensor)))
    if result.contract is not None and result.contract.labels:
        labels = result.contract.labels
        facts.add_row(
            "labels", escape(", ".join(labels[:10]) + (f" and {len(labels) - 10} more" if labels[10:] else ""))
        )
    if result.contract is not None:
        facts.add_row("task", f"{result.contract.means}: {find_task(result.contract.means).summary}")
    for name, text in result.metadata.items():
        facts.add_row(escape(name), escape(text[:200]))
    console.print(facts)
    console.print(_operators(result.operator_uses))
    _render_remarks(console, result)


def _render_remarks(console: Console, result: InspectResult) -> None:
    for name, why in result.outside.items():
        console.print(f"not delegated: {escape(name)}: {escape(why)}", highlight=False)
    if result.outside:
        console.print(f"see {KNOWN_PROBLEMS}", highlight=False, style="dim")
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    if result.graph is not None:
        console.print(f"wrote {escape(str(result.graph))}", highlight=False, soft_wrap=True)


def _operators(uses: Sequence[OperatorUse]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("operator")
    table.add_column("count", justify="right")
    detailed = any(use.precisions for use in uses)
    if detailed:
        table.add_column("precision")
        table.add_column("MACs (M)", justify="right")
    for use in uses:
        details = []
        if detailed:
            precisions = ", ".join(f"{name} {count}" for name, count in use.precisions.items())
            details = [escape(precisions), "" if not use.macs else f"{use.macs / 1e6:.1f}"]
        table.add_row(escape(use.type), str(use.count), *details)
    return table


def _describe(tensor: TensorInfo) -> str:
    shape = "x".join("?" if side is None else str(side) for side in tensor.shape)
    return f"{tensor.name}: {tensor.kind} {tensor.dtype} {shape}".rstrip()


def _add_manifest(facts: Table, manifest: Manifest) -> None:
    from mobilevit_tools.cli.tables import size, status

    weights = manifest.model.weights
    source = "[bold yellow]random weights[/]" if weights.random else escape(weights.source or "")
    facts.add_row(
        "model", f"{escape(manifest.model.name)}, {number_of(manifest.model.num_classes, 'classes')}, {source}"
    )
    if manifest.model.reconstruction:
        facts.add_row("note", escape(manifest.model.reconstruction))
    facts.add_row("made as", f"{manifest.spec.variant}, batch {manifest.spec.batch}")
    facts.add_row("size", f"{size(manifest.artifact.size_bytes)}, sha256 {manifest.artifact.sha256[:16]} (checked)")
    facts.add_row("params, MACs", f"{manifest.model.params / 1e6:.2f} M, {manifest.model.macs / 1e9:.3f} G")
    facts.add_row(
        "parity", status(manifest.parity) + (f": {escape(manifest.parity.reason)}" if manifest.parity.reason else "")
    )
    if manifest.delegation is not None:
        delegation = manifest.delegation
        share = "" if delegation.macs_share is None else f", {delegation.macs_share:.1%} of the MACs inside"
        calls = number_of(delegation.calls, "calls")
        outside = number_of(sum(delegation.outside.values()), "operators")
        facts.add_row("delegation", f"{calls}, {outside} outside{share}")
    for rewrite in manifest.rewrites:
        facts.add_row("rewritten", f"{escape(rewrite.summary)}: {number_of(rewrite.places, 'places')}")
    tools = ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items()))
    facts.add_row("made with", escape(tools))
    facts.add_row("command", escape(manifest.command or "none: the model was a module in memory"))
