"""``mvt info``: one model, measured beside published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import AsJson, InputSize, Model, Options, Verbosity
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from mobilevit_tools.api.info import InfoResult
    from mobilevit_tools.models.cards import Published


def info(
    model: Model,
    num_classes: Annotated[int | None, typer.Option("--num-classes", min=1, help="Default: the model's.")] = None,
    input_size: InputSize = None,
    option: Options = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Show a model's parameters and MACs by stage, next to published figures."""
    with command_output("info", as_json=as_json, verbosity=verbose) as output:
        size = parse_size(input_size)
        with output.progress(f"Measuring {model}"):
            from mobilevit_tools.api.info import info as measure
            from mobilevit_tools.models.options import parse_options

            options = parse_options(option or [])
            result = measure(model, num_classes=num_classes, input_size=size, options=options)
        output.show(result, _render)


def _render(console: Console, result: InfoResult) -> None:
    console.print(f"[bold]{escape(result.name)}[/]  {escape(result.title)}", highlight=False)
    console.print(escape(result.paper), highlight=False)
    if result.reconstruction:
        console.print(f"[yellow]{escape(result.reconstruction)}[/]", highlight=False)
    height, width = result.input_size
    table = Table(box=None, header_style="bold", title=f"{height}x{width}, {number_of(result.num_classes, 'classes')}")
    table.add_column("stage")
    for heading in ("params (M)", "MACs (M)", "output"):
        table.add_column(heading, justify="right")
    for stage in result.stages:
        shape = "x".join(map(str, stage.output_shape[1:])) if stage.output_shape else ""
        table.add_row(escape(stage.name), f"{stage.params / 1e6:.3f}", f"{stage.macs / 1e6:.1f}", shape)
    table.add_section()
    table.add_row("total", f"{result.params / 1e6:.3f}", f"{result.macs / 1e6:.1f}", "", style="bold")
    console.print(table)
    published = result.published
    if figures := _figures(published):
        console.print(f"published: {figures}  ({escape(published.source)})", highlight=False)
    for device, milliseconds in published.latency_ms.items():
        console.print(f"published latency, not measured here: {milliseconds} ms on {escape(device)}", highlight=False)
    if result.weights:
        card = result.weights
        console.print(
            f"weights: {escape(card.source)}; top-1 {card.top1:.2f} % on {card.top1_images} images "
            f"({escape(card.top1_data)})",
            highlight=False,
        )
    if result.uncounted:
        names = ", ".join(f"{name} ({count})" for name, count in result.uncounted.items())
        console.print(f"operators not counted: {escape(names)}", highlight=False)
    console.print(f"licence: {escape(result.license)}", highlight=False)


def _figures(published: Published) -> str:
    """Return what is published of a model in words; papers leave some of it out."""
    said = ((published.params_m, "{} M parameters"), (published.gmacs, "{} GMACs"), (published.top1, "top-1 {} %"))
    return ", ".join(words.format(value) for value, words in said if value is not None)
