"""``mvt doctor``: what is installed, what is missing, and what to type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mobilevit_tools.cli.arguments import KNOWN_PROBLEMS, AsJson
from mobilevit_tools.cli.output import command_output
from mobilevit_tools.errors import MissingDependencyError

if TYPE_CHECKING:
    from mobilevit_tools.api.doctor import DoctorResult
    from mobilevit_tools.defaults import Default

STYLES = {"ok": "green", "untested": "yellow", "bad": "bold red", "missing": "red"}


def doctor(
    android: Annotated[
        list[Path] | None,
        typer.Option(
            "--android",
            help="Check libraries for phones with 16 KB pages: a .so, .apk, .aar, .aab or folder. Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the installation: packages, compatible versions, tools; exit code 5 if a target is not usable."""
    with command_output("doctor", as_json=as_json, on_failure=_render) as output:
        from mobilevit_tools.api.doctor import doctor as examine

        result = examine(defaults=_defaults(), libraries=android or ())
        if not result.healthy:
            raise MissingDependencyError(
                f"Some targets are not usable: {', '.join(result.broken)}.",
                hint="Run the commands listed under the checks.",
                code="unhealthy",
                result=result,
            )
        output.show(result, _render)


def _defaults() -> tuple[Default, ...]:
    from mobilevit_tools.cli.app import commands
    from mobilevit_tools.cli.defaults import current_folder, read_defaults

    return read_defaults(commands(), current_folder())


def _render(console: Console, result: DoctorResult) -> None:
    console.print(f"Python {result.python}, {result.system}", highlight=False)
    table = Table(box=None, header_style="bold")
    for heading in ("", "version", "status", "for"):
        table.add_column(heading)
    for check in result.checks:
        style = STYLES[check.status]
        table.add_row(check.name, escape(check.version or ""), f"[{style}]{check.status}[/]", check.purpose)
    console.print(table)
    for check in result.checks:
        if check.detail:
            console.print(f"{check.name}: {escape(check.detail)}", highlight=False)
        if check.remedy:
            console.print(f"{check.name}: [cyan]{escape(check.remedy)}[/]", highlight=False)
    for default in result.defaults:
        shown = ", ".join(map(str, default.value)) if isinstance(default.value, tuple) else str(default.value)
        option = f"{default.command} --{default.option}" if default.command else f"--{default.option}"
        console.print(f"default: {escape(f'{option} {shown} ({default.source})')}", highlight=False, soft_wrap=True)
    for library in result.libraries:
        said = "[green]ok[/]" if library.problem is None else f"[bold red]bad[/]: {escape(library.problem)}"
        console.print(f"16 KB pages: {escape(library.name)}: {said}", highlight=False, soft_wrap=True)
    if result.healthy:
        console.print("[green]All installed targets are usable.[/]")
    console.print(f"Library bugs and how mvt handles them: {KNOWN_PROBLEMS}", highlight=False, soft_wrap=True)
