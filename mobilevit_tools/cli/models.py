"""``mvt models``: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mobilevit_tools.cli.arguments import AsJson, Quiet
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.models.sources.registry import SOURCES

if TYPE_CHECKING:
    from mobilevit_tools.api.models import ModelsResult


def models(
    pattern: Annotated[str, typer.Argument(help="A shell-style pattern, such as 'care*' or 'timm:mobilevit*'.")] = "*",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List the models: parameters, MACs, published accuracy and trained weights."""
    with command_output("models", as_json=as_json, quiet=quiet) as output:
        from mobilevit_tools.api.models import models as list_them

        output.show(list_them(pattern), _render_names if quiet else _render)


def _render_names(console: Console, result: ModelsResult) -> None:
    for model in result.models:
        console.print(model.name, highlight=False, markup=False, soft_wrap=True)


def _render(console: Console, result: ModelsResult) -> None:
    table = Table(box=None, header_style="bold", expand=True)
    table.add_column("model", overflow="fold")  # people copy it
    figures = {
        "params (M)": ["" if each.params is None else f"{each.params / 1e6:.2f}" for each in result.models],
        "GMACs": ["" if each.macs is None else f"{each.macs / 1e9:.3f}" for each in result.models],
        "input": [f"{each.input_size[0]}x{each.input_size[1]}" for each in result.models],
        "top-1": ["" if each.published_top1 is None else f"{each.published_top1:.1f}" for each in result.models],
    }
    known = {heading: cells for heading, cells in figures.items() if any(cells)}  # a source may state few
    for heading in known:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("weights", no_wrap=True, overflow="ellipsis", ratio=1)
    for model, *cells in zip(result.models, *known.values(), strict=True):
        name = f"{model.name} *" if model.reconstruction else model.name
        table.add_row(name, *cells, model.weights or "")
    console.print(table)
    if any(model.published_top1 is not None for model in result.models):
        console.print("top-1: as published, ImageNet-1K", style="dim", highlight=False)
        others = ", ".join(f"{source.prefix}:{source.name}" for source in SOURCES.values())
        console.print(f"third-party models: {others}, path/to/net.py:function", style="dim", highlight=False)
    if any(model.reconstruction for model in result.models):
        console.print("* this project's own reconstruction: see `mvt info MODEL`.")
