"""A child process that does what a damaged artifact can end; its death or silence is an error here."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mobilevit_tools.errors import BadInputError, retold
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from mobilevit_tools.runtimes.frames import FrameError, read_frame, write_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATIENCE_SECONDS = 120.0
_GRACE_SECONDS = 5.0
_HINT = "It may be damaged or from another version: copy or export it again."


class Child:
    """A process that answers questions about one artifact.

    Args:
        path: The artifact, which errors name.
        module: The module that the process runs; see :mod:`~mobilevit_tools.runtimes.serving`.
        patience_s: How long one answer may take before the artifact counts as hung.
    """

    def __init__(self, path: Path, module: str, *, patience_s: float = PATIENCE_SECONDS) -> None:
        self._path = path
        self._patience_s = patience_s
        self._opened = False
        # -P: a file in the current folder must not stand in for a module of ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(
        self, operation: str, *arrays: NDArray[Any], **arguments: object
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Have the process do something, and return what it found.

        Raises:
            BadInputError: The artifact ended or hung the process.
            UnsupportedOperatorError: The runtime lacks operators of the artifact.
            MvtError: Whatever the operation raised over there.
        """
        requests, replies = self._pipes()
        overdue = threading.Event()

        def stop() -> None:
            overdue.set()
            self._process.kill()

        clock = threading.Timer(self._patience_s, stop)
        clock.daemon = True
        clock.start()
        try:
            with suppress(BrokenPipeError):  # a child that is gone has closed its stdout, too
                write_frame(requests, {"operation": operation, "arguments": arguments}, arrays)
            header, received = read_frame(replies)
        except (EOFError, FrameError) as error:
            raise self._lost(hung=overdue.is_set()) from error
        finally:
            clock.cancel()
        if "error" in header:
            if "operators" in header:
                raise UnsupportedOperatorError(tuple(header["operators"]))
            raise retold(header["error"])
        self._opened = True
        return header["result"], received

    def end(self) -> None:
        """End the process."""
        requests, replies = self._pipes()
        with suppress(BrokenPipeError):
            requests.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        replies.close()

    def _lost(self, *, hung: bool) -> BadInputError:
        try:
            code = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # it lives, and talks nonsense
            self._process.kill()
            code = self._process.wait()
        if hung:
            return BadInputError(
                f"{self._path} hangs: loading it or an inference took more than {self._patience_s:g} s.",
                hint=_HINT,
                code="hang",
            )
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if code == -signal.SIGKILL:
            how += ", possibly out of memory"
        return BadInputError(
            f"{self._path} ended the process that {'ran' if self._opened else 'opened'} it ({how}).",
            hint=_HINT,
            code="crash",
        )

    def _pipes(self) -> tuple[BinaryIO, BinaryIO]:
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the process was started without pipes")
        return self._process.stdin, self._process.stdout  # type: ignore[return-value]
