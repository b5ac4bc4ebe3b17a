"""Keep the libraries' chatter away from people, and from stdout: theirs goes aside, ours stays where it was."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import typer

from mobilevit_tools.errors import ExitCode


@dataclass(frozen=True)
class Streams:
    """The streams that a command prints to."""

    out: TextIO
    err: TextIO


@contextmanager
def private_streams(*, pass_through: bool) -> Iterator[Streams]:
    """Give the real stdout and stderr, while everything that others print is thrown away.

    With ``pass_through`` it goes to stderr: stdout holds our result and nothing else, however much people want to see.
    Libraries print from Python and from C++, so the file descriptors themselves are redirected. Where stdout and
    stderr are not the process's own (in a notebook, under a test's capture), nothing is. One that is closed is taken
    for ``/dev/null``.

    Raises:
        typer.Exit: The result could not be written to stdout, and nothing worse happened; people are told on stderr.
    """
    if sys.stdout is None:
        sys.stdout = _nowhere(1)
    if sys.stderr is None:
        sys.stderr = _nowhere(2)
    if not (_is_descriptor(sys.stdout, 1) and _is_descriptor(sys.stderr, 2)):
        yield Streams(sys.stdout, sys.stderr)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = (os.dup(1), os.dup(2))
    out, err = (_Tolerant(os.fdopen(descriptor, "wb")) for descriptor in kept)
    with Path(os.devnull).open("wb") as aside:
        others = 2 if pass_through else aside.fileno()
        os.dup2(others, 1)
        os.dup2(others, 2)
    try:
        yield Streams(out, err)
    finally:
        for stream in (sys.stdout, sys.stderr, out, err):
            with suppress(OSError):
                stream.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
        if out.failure is not None:
            print(f"error: The result cannot be written to stdout: {out.failure.strerror}.", file=err)
        for stream in (out, err):
            with suppress(OSError):  # once more what has been told, or what nobody can be told
                stream.close()
    if out.failure is not None:
        raise typer.Exit(ExitCode.BAD_INPUT)


class _Tolerant(io.TextIOWrapper):
    """A stream that cannot fail while a command works, which has more to do than to print.

    Attributes:
        failure: Why something could not be written, other than that nobody reads it any more, as behind ``head``: the
            command then works on, and ends as it would otherwise.
    """

    def __init__(self, buffer: io.BufferedWriter) -> None:
        super().__init__(buffer, encoding="utf-8", errors="replace", line_buffering=True)
        self.failure: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write, or remember why not."""
        try:
            return super().write(text)
        except BrokenPipeError:
            return len(text)
        except OSError as error:
            self.failure = error
            return len(text)

    def flush(self) -> None:
        """Flush, or remember why not."""
        try:
            super().flush()
        except BrokenPipeError:
            return
        except OSError as error:
            self.failure = error


def _nowhere(number: int) -> TextIO:
    """Return a stream that leads nowhere, in place of a standard one that is closed."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    if descriptor != number and not _is_open(number):  # or else the next file that is opened becomes stdout
        os.dup2(descriptor, number)
        os.close(descriptor)
        descriptor = number
    return os.fdopen(descriptor, "w", encoding="utf-8")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False
