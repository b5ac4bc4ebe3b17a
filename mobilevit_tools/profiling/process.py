"""The parent's side of the measuring process: start it, ask it, and notice when it crashes or hangs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import IO, Any, Self

from mobilevit_tools.errors import DeviceError, retold

WORKER = "mobilevit_tools.profiling.worker"
PATIENCE_SECONDS = 120.0
_GRACE_SECONDS = 5.0
_LAST_WORDS = 2000


class MeasuringProcess:
    """A fresh child process that loads one artifact and times it; use it in ``with``.

    Args:
        threads: The threads that every library in the child may use.
        patience_s: How long loading, or a single inference, may take before the child counts as hung.
        module: The module that the child runs.
    """

    def __init__(self, threads: int, *, patience_s: float = PATIENCE_SECONDS, module: str = WORKER) -> None:
        self._patience_s = patience_s
        with ExitStack() as stack:
            self._complaints = stack.enter_context(tempfile.TemporaryFile())
            # -P: a file in the current folder must not stand in for a module of ours.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                text=True,
                encoding="utf-8",
                env={**os.environ, **thread_environment(threads)},
            )
            stack.callback(self._end)
            self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._stack.close()

    def _end(self) -> None:
        requests, replies = _pipes(self._process)
        with suppress(BrokenPipeError):
            requests.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        replies.close()

    def ask(self, operation: str, **arguments: object) -> dict[str, Any]:
        """Send one request and wait for its result.

        Raises:
            MvtError: The child refused, and why.
            DeviceError: The child crashed, or was silent for longer than ``patience_s``.
        """
        requests, _ = _pipes(self._process)
        with suppress(BrokenPipeError):  # a child that is gone has closed its stdout, too
            requests.write(json.dumps({"operation": operation, "arguments": arguments}) + "\n")
            requests.flush()
        while True:
            reply = self._next_reply()
            if "result" in reply:
                result: dict[str, Any] = reply["result"]
                return result
            if "error" in reply:
                raise retold(reply["error"])

    def _next_reply(self) -> dict[str, Any]:
        while True:
            try:
                line = self._lines.get(timeout=self._patience_s)
            except queue.Empty:
                self._process.kill()
                raise DeviceError(
                    f"The artifact hangs: loading or an inference took more than {self._patience_s:g} s.",
                    code="hang",
                ) from None
            if line is None:
                raise self._crash()
            # What a library printed before the child took its stdout away is no reply.
            with suppress(ValueError):
                reply = json.loads(line)
                if isinstance(reply, dict):
                    return reply

    def _read(self) -> None:
        _, replies = _pipes(self._process)
        for line in replies:
            self._lines.put(line)
        self._lines.put(None)

    def _crash(self) -> DeviceError:
        code = self._process.wait()
        how = f"with {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        self._complaints.seek(max(0, self._complaints.seek(0, os.SEEK_END) - _LAST_WORDS))
        last_lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return DeviceError(
            f"The process that ran the artifact ended {how}.",
            hint=f"Last output: {last_lines[-1].strip()}" if last_lines else None,
            code="crash",
        )


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("the process was started without pipes")
    return process.stdin, process.stdout


def thread_environment(threads: int) -> Mapping[str, str]:
    """Return the environment variables that hold every common thread pool to ``threads`` and let idle threads sleep."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return {**dict.fromkeys(names, count), "OMP_WAIT_POLICY": "PASSIVE"}
