"""The command's tree of verbs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import typer
from typer.main import get_command

from mobilevit_tools.cli.defaults import apply_defaults, current_folder
from mobilevit_tools.cli.other_names import meant_by
from mobilevit_tools.cli.output import parser_error
from mobilevit_tools.cli.verbs import GROUPS, VERBS, Commands, Verbs
from mobilevit_tools.errors import ExitCode, MvtError, UsageError

NAME = "mvt"
NEED_NO_DEFAULTS = frozenset({"doctor", "--help", "--version"})
"""What works where shared defaults cannot be read; doctor tells why."""
HELP = "Export vision models to the runtimes of phones, verify each artifact, and measure it."
EPILOG = (
    "Exit codes: 0 ok, 1 internal error, 2 usage, 3 bad input, 4 a numeric gate failed, 5 a missing backend or "
    "dependency, 6 a device failed, 130 interrupted."
)

app = typer.Typer(name=NAME, cls=Verbs, help=HELP, epilog=EPILOG, rich_markup_mode=None, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mvt {version('mobilevit-tools')}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    del version


# The parser's own exception classes are private to typer; this is the one from which all of them derive.
_ParserError: type[Exception] = typer.BadParameter.__mro__[2]


@cache
def parser() -> Any:
    """Return the parser of the whole command line; building it is most of what `mvt --help` does itself."""
    return get_command(app)


def commands() -> Commands:
    """Return the commands by name, without groups, each built when it is asked for."""
    return Commands(VERBS.keys() - GROUPS)


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        defaults = apply_defaults(commands(), current_folder(), os.environ, given)
    except MvtError as error:
        if not NEED_NO_DEFAULTS & set(given):
            verb = next((each for each in given if not each.startswith("-")), "")
            parser_error(error, as_json="--json" in given, command=verb)
            return error.exit_code
        defaults = {}
    try:
        code = parser().main(args=given, prog_name=NAME, standalone_mode=False, default_map=defaults)
    except _ParserError as error:
        context = getattr(error, "ctx", None)  # of the innermost command that was reached
        verb = "" if context is None else context.command_path.removeprefix(NAME).strip()
        hint = f"See `mvt {verb} --help`." if verb else "See `mvt --help`."
        unknown = _unknown_option(error)
        meant = "" if unknown is None else meant_by(unknown, context)
        sentence = _sentence(error) if unknown is None else f"No such option: {unknown}."
        refused = UsageError(sentence, hint=f"Use {meant}. {hint}" if meant else hint)
        parser_error(refused, command=verb, as_json="--json" in given)
        return ExitCode.USAGE
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # nobody reads the help to its end, as behind `head`
            return ExitCode.OK
        raise
    return code if isinstance(code, int) else ExitCode.OK


def _unknown_option(error: Exception) -> str | None:
    """Return the option that a command does not have; None where something else is wrong."""
    name: str | None = getattr(error, "option_name", None)
    return name if hasattr(error, "possibilities") else None  # the parser's own guesses: only this error has them


def _sentence(error: Exception) -> str:
    """Return what the parser says, with the name of the option that it is about."""
    format_message: Callable[[], str] | None = getattr(error, "format_message", None)
    return str(error) if format_message is None else format_message()
