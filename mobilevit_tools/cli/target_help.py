"""What the help texts say of the targets, and ``--target help``: each, what it makes, and what to install for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.targets.registry import TARGETS

if TYPE_CHECKING:
    from mobilevit_tools.targets._base import Target

HELP = "help"


def by_target(values: Callable[[Target], Iterable[str]]) -> str:
    """Return what the targets offer, such as their precisions: ``onnx: fp32, fp16; coreml: fp32.``."""
    said = [(name, ", ".join(values(target))) for name, target in TARGETS.items()]
    return "; ".join(f"{name}: {offered}" for name, offered in said if offered) + "."


BACKEND_HELP = by_target(lambda target: [backend.name for backend in target.backends])


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
