"""A session whose work is done by a child process, for runtimes that a damaged artifact can end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.errors import BadInputError, retold
from mobilevit_tools.runtimes._base import (
    OperatorUse,
    Session,
    TensorInfo,
    UnsupportedOperatorError,
    check_input,
    numpy_type,
)
from mobilevit_tools.runtimes.frames import FrameError, read_frame, write_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

SERVER = "mobilevit_tools.runtimes.serving"
PATIENCE_SECONDS = 120.0
_GRACE_SECONDS = 5.0
_HINT = "It may be damaged, or made by another version: copy it again, or export it again."


class IsolatedSession(Session):
    """An artifact that is open in a process of its own, whose death or silence is an error here.

    Args:
        path: The artifact.
        threads: Threads of one inference.
        patience_s: How long loading, or a single inference, may take before the artifact counts as hung.
        module: The module that the child runs.

    Raises:
        BadInputError: The artifact cannot be loaded, or loading it ended or hung the runtime.
    """

    def __init__(self, path: Path, threads: int, *, patience_s: float = PATIENCE_SECONDS, module: str = SERVER) -> None:
        self._path = path
        self._patience_s = patience_s
        with ExitStack() as stack:
            # -P: a file in the current folder must not stand in for a module of ours.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.callback(self._end)
            facts, _ = self._ask("open", path=str(path.absolute()), threads=threads)
            self.inputs = tuple(_info(info) for info in facts["inputs"])
            self.outputs = tuple(_info(info) for info in facts["outputs"])
            self.contract, self.described = (
                None if facts[kind] is None else Contract.from_json(facts[kind]) for kind in ("contract", "described")
            )
            self.metadata = facts["metadata"]
            self.notes = tuple(facts["notes"])
            self.unverifiable = facts["unverifiable"]
            self.arithmetics = tuple(facts["arithmetics"])
            self._stack = stack.pop_all()

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; the call also takes the way to the process and back, so that it is no latency."""
        check_input(self.inputs, array)
        bound = np.array(array, dtype=numpy_type(self.inputs[0]))
        return lambda: self.run(bound)

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input; see the base class."""
        check_input(self.inputs, array)
        _, outputs = self._ask("run", array)
        return outputs

    def use(self, arithmetic: str) -> None:
        """Compute in one of ``arithmetics``; see the base class."""
        self._ask("use", arithmetic=arithmetic)

    def operators(self) -> Mapping[str, int]:
        """Count the artifact's operators; see the base class."""
        counts: dict[str, int] = self._ask("operators")[0]["operators"]
        return counts

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        """Tell what is known of each operator type; see the base class."""
        return tuple(OperatorUse(**use) for use in self._ask("operator_uses")[0]["uses"])

    def close(self) -> None:
        """End the process."""
        self._stack.close()

    def _ask(
        self, operation: str, *arrays: NDArray[Any], **arguments: object
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
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
        return header["result"], received

    def _lost(self, *, hung: bool) -> BadInputError:
        try:
            code = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # it lives, and talks nonsense
            self._process.kill()
            code = self._process.wait()
        if hung:
            return BadInputError(
                f"{self._path} hangs: neither loading it nor a single inference may take {self._patience_s:g} s.",
                hint=_HINT,
                code="hang",
            )
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if code == -signal.SIGKILL:
            how += ", as when memory runs out"
        return BadInputError(
            f"{self._path} ended the process that {'ran' if hasattr(self, 'inputs') else 'opened'} it ({how}).",
            hint=_HINT,
            code="crash",
        )

    def _pipes(self) -> tuple[BinaryIO, BinaryIO]:
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the process was started without pipes")
        return self._process.stdin, self._process.stdout  # type: ignore[return-value]

    def _end(self) -> None:
        requests, replies = self._pipes()
        with suppress(BrokenPipeError):
            requests.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        replies.close()


def _info(stated: dict[str, Any]) -> TensorInfo:
    return TensorInfo(**{**stated, "shape": tuple(stated["shape"])})
