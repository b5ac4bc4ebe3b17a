"""``--target help``: every target, what it makes, and what to type where it is not installed."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.targets.registry import TARGETS

HELP = "help"


def tell_targets(asked: list[str] | None) -> list[str] | None:
    """Print the targets and end where ``help`` is asked for; else return what was asked for."""
    if asked is None or HELP not in asked:
        return asked
    console = Console()
    table = Table(box=None, header_style="bold")
    for heading in ("target", "artifact", "precisions", "here"):
        table.add_column(heading, no_wrap=heading != "precisions")
    for target in TARGETS.values():
        state = "[red]missing[/]" if target.missing() else "[green]ready[/]"
        table.add_row(target.name, target.suffix, ", ".join(target.precisions), state)
    console.print(table)
    for target in TARGETS.values():
        for package in target.missing()[:1]:
            console.print(
                f"{target.name} needs {package}: [cyan]{escape(target.install(package))}[/]",
                highlight=False,
                soft_wrap=True,
            )
    raise typer.Exit
