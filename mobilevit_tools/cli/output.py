"""The one place that prints: a result for people or as JSON on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from mobilevit_tools.cli.streams import Streams, private_streams
from mobilevit_tools.documents import printable
from mobilevit_tools.errors import BadInputError, ExitCode, MvtError, first_line
from mobilevit_tools.jsonable import JsonValue, envelope
from mobilevit_tools.progress import Advance

if TYPE_CHECKING:
    from mobilevit_tools.cli.waiting import Steps

Result = TypeVar("Result")
Renderer = Callable[[Console, Result], None]

PIPED_WIDTH = 200
"""Columns where the output is no terminal."""

LIBRARIES_TOO = 2
"""From this verbosity on, what the libraries print is shown too."""

_UNREACHABLE = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP})


class _Printable(Console):
    """A console on which text that others wrote cannot move the cursor, hide lines, or reverse their order."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Read a string as rich does; its own control codes are no strings, and stay."""
        return super().render_str(printable(text), **options)


def _console(stream: TextIO) -> Console:
    """Return a console on a stream; one that is no terminal is wide, so that programs read whole names and lines."""
    console = _Printable(file=stream, emoji=False)  # net.py:two: is a name
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


class Output:
    """Where one command's result and progress go.

    Attributes:
        command: The verb.
        verbosity: How often ``-v`` was given.
        console: For people, on stdout.
        log: For people, on stderr.
        watched: Whether somebody looks at a terminal, and did not ask for silence.
        interrupted: Whether Ctrl-C was pressed; libraries that swallow the exception do not make it undone.
        left_behind: What people are told about what is on disk then.
    """

    def __init__(self, command: str, *, as_json: bool, verbosity: int, streams: Streams, quiet: bool = False) -> None:
        self.command = command
        self.verbosity = verbosity
        self.interrupted = False
        self.left_behind = "no partial files remain"
        self._as_json = as_json
        self._streams = streams
        self.console = _console(streams.out)
        self.log = _console(streams.err)
        self.watched = self.log.is_terminal and not as_json and not quiet

    def show(self, result: Result, render: Renderer[Result]) -> None:
        """Print a result."""
        if self._as_json:
            self._print(envelope(self.command, result))
        else:
            render(self.console, result)

    def fail(self, error: MvtError, render: Renderer[Result] | None) -> None:
        """Print an error: one sentence and what to do next; the figures that it carries come first."""
        if self._as_json:
            self._print(envelope(self.command, error.result, error))
            return
        if error.result is not None and render is not None:
            render(self.console, error.result)  # type: ignore[arg-type]
        self.log.print(f"[bold red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        if error.hint:
            self.log.print(f"[cyan]hint:[/] {escape(error.hint)}", highlight=False, soft_wrap=True)

    @cached_property
    def _steps(self) -> Steps:
        from mobilevit_tools.cli.waiting import Steps

        return Steps(self.log)

    @contextmanager
    def progress(self, step: str, parts: int = 0, /) -> Iterator[Advance]:
        """Tell of a step while it runs, and of the time that its parts leave; with ``-v``, how long it took."""
        import time

        started = time.perf_counter()
        if self.watched:
            with self._steps.waiting(step, parts) as advance:
                yield advance
        else:
            yield lambda: None
        if self.interrupted:
            raise KeyboardInterrupt
        if self.verbosity or self.watched:
            took = time.perf_counter() - started
            self.log.print(f"[dim]{escape(step)}: {took:.1f} s[/]", highlight=False, soft_wrap=True)

    def _print(self, enveloped: JsonValue) -> None:
        print(json.dumps(enveloped, allow_nan=False), file=self._streams.out)


@contextmanager
def command_output(
    command: str,
    *,
    as_json: bool = False,
    verbosity: int = 0,
    quiet: bool = False,
    on_failure: Renderer[Result] | None = None,
) -> Iterator[Output]:
    """Run a command's body; every exception becomes one clear sentence and its exit code.

    Args:
        command: The verb.
        as_json: Print the envelope in place of tables.
        verbosity: How often ``-v`` was given.
        quiet: Show no progress.
        on_failure: Renders the figures that an error carries.
    """
    with private_streams(pass_through=verbosity >= LIBRARIES_TOO) as streams:
        output = Output(command, as_json=as_json, verbosity=verbosity, streams=streams, quiet=quiet)
        try:
            with _noticing_ctrl_c(output):
                yield output
        except KeyboardInterrupt as error:
            raise _stopped(output) from error
        except MvtError as error:
            if output.interrupted:
                raise _stopped(output) from error
            output.fail(error, on_failure)
            if verbosity >= LIBRARIES_TOO and error.__cause__ is not None:
                traceback.print_exception(error.__cause__, file=streams.err)
            raise typer.Exit(error.exit_code) from error
        except (BrokenPipeError, typer.Exit):
            raise
        except Exception as error:
            if output.interrupted:
                raise _stopped(output) from error
            unreachable = _unreachable(error)
            if unreachable is not None:
                output.fail(unreachable, on_failure)
                raise typer.Exit(unreachable.exit_code) from error
            kind = type(error).__name__
            message = f"{kind}: {first_line(error)}" if str(error).strip() else kind
            output.fail(MvtError(message, hint="This is a bug in mvt. Run again with -v for a traceback."), on_failure)
            if verbosity:
                traceback.print_exc(file=streams.err)
            raise typer.Exit(ExitCode.INTERNAL) from error


def _unreachable(error: Exception) -> BadInputError | None:
    """Return what people are told of a path that the system does not even look at; None for every other error.

    Any question about such a path raises it, even whether there is something: it is answered here, once for all.
    """
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _UNREACHABLE:
        return None
    return BadInputError(
        f"{error.filename} cannot be reached: {error.strerror}.",
        hint="Check the path and the permissions of its folders.",
        code="unreachable_path",
    )


@contextmanager
def _noticing_ctrl_c(output: Output) -> Iterator[None]:
    """Remember Ctrl-C beside raising it: converters catch more than they should, and carry on or raise their own.

    SIGTERM, which CI sends where people press Ctrl-C, is taken for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def notice(_number: int, _frame: FrameType | None) -> None:
        output.interrupted = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, notice) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped(output: Output) -> typer.Exit:
    output.fail(_InterruptedError(f"Interrupted; {output.left_behind}."), None)
    return typer.Exit(ExitCode.INTERRUPTED)


class _InterruptedError(MvtError):
    code = "interrupted"
    exit_code = ExitCode.INTERRUPTED


def parser_error(error: MvtError, *, as_json: bool, command: str) -> None:
    """Print what is wrong before a command runs."""
    with suppress(typer.Exit), private_streams(pass_through=True) as streams:
        Output(command, as_json=as_json, verbosity=0, streams=streams).fail(error, None)
