"""Keep the libraries' chatter away from people, and from stdout: theirs goes aside, ours stays where it was."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Streams:
    """The streams that a command prints to."""

    out: TextIO
    err: TextIO


@contextmanager
def private_streams(*, pass_through: bool) -> Iterator[Streams]:
    """Give the real stdout and stderr, while everything that others print goes to a file that is thrown away.

    With ``pass_through`` it goes to stderr: stdout holds our result and nothing else, however much people want to see.
    Libraries print from Python and from C++, so the file descriptors themselves are redirected. Where stdout and
    stderr are not the process's own (in a notebook, under a test's capture), nothing is.
    """
    if not (_is_descriptor(sys.stdout, 1) and _is_descriptor(sys.stderr, 2)):
        yield Streams(sys.stdout, sys.stderr)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = (os.dup(1), os.dup(2))
    out = os.fdopen(kept[0], "w", encoding="utf-8", errors="replace", buffering=1)
    err = os.fdopen(kept[1], "w", encoding="utf-8", errors="replace", buffering=1)
    with tempfile.TemporaryFile() as aside:
        others = 2 if pass_through else aside.fileno()
        os.dup2(others, 1)
        os.dup2(others, 2)
        try:
            yield Streams(out, err)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            out.flush()
            err.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            out.close()
            err.close()


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False
