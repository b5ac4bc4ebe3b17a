"""Run a program with a time limit that holds for everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_GRACE_S = 1.0
_PROC = Path("/proc")


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        code: Its exit status; negative where a signal ended it; None where the time limit did.
        stdout: What it printed.
        stderr: What it complained.
    """

    code: int | None
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line that it complained, or an empty text."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def run(
    command: Sequence[str | Path],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    grace_s: float = 0.0,
) -> Finished:
    """Run ``command`` in a process group of its own and wait for at most ``timeout_s`` seconds.

    Where that is too long, or this process is interrupted, the whole group is killed. A program that starts groups of
    its own is first told to end (SIGTERM) and given ``grace_s`` seconds for that.

    Raises:
        OSError: The program cannot be started.
    """
    with subprocess.Popen(
        [os.fspath(word) for word in command],
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        code: int | None = None
        try:
            out: bytes | None
            out, err = process.communicate(timeout=timeout_s)
            code = process.returncode
        except subprocess.TimeoutExpired:
            _end(process, grace_s)
            out, err = _what_was_printed(process)
        except BaseException:
            _end(process, grace_s)
            raise
    return Finished(code, (out or b"").decode(errors="replace"), err.decode(errors="replace"))


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    try:
        if grace_s:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=grace_s)
    finally:
        kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a program that was started in a session of its own, and all that it started in it."""
    with suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)


def session_seconds(leader: int) -> float | None:
    """Return the CPU time that a program has taken that was started in a session of its own, with all that it started.

    What has ended counts if its parent has noticed that. None where the system does not tell.
    """
    if not _PROC.joinpath("stat").exists():
        return None
    ticks = 0
    for stat in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            _state, _parent, _group, session, *_ = fields
            if int(session) == leader:
                ticks += sum(map(int, fields[11:15]))  # its own time in user and kernel mode, and its children's
    return ticks / os.sysconf("SC_CLK_TCK")


def _what_was_printed(process: subprocess.Popen[bytes]) -> tuple[bytes | None, bytes]:
    """Collect what a killed program printed. ssh hands its pipes to another process, which may keep them open."""
    try:
        return process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired as expired:
        return expired.stdout, expired.stderr or b""
