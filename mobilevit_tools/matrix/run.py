"""Run one cell as ``mvt``'s own commands, each a process of its own: what crashes or hangs fails its cell alone."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.artifacts.exported import ExportedArtifact, ExportResult
from mobilevit_tools.child import explicit
from mobilevit_tools.devices.process import Finished, run
from mobilevit_tools.documents import parse, typed
from mobilevit_tools.errors import BadInputError, ExitCode, MvtError
from mobilevit_tools.jsonable import StatedError
from mobilevit_tools.matrix.cell import Cell, CellResult, Status
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.verification.evaluations import Evaluated

TYPED_FOLDER = Path("out")
"""The folder in the commands that people are shown: the cell's own may be gone by then."""
GRACE_S = 5.0
"""How long a command that is told to stop has to end what it started."""


@dataclass
class _Heard:
    """What the cell's commands printed so far."""

    artifact: ExportedArtifact | None = None
    profile: ProfileResult | None = None
    evaluation: Evaluated | None = None


@dataclass(frozen=True)
class _Ending:
    """How the cell ended, after how many of its commands."""

    exit_code: int | None = ExitCode.OK
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    calls: int = 0

    @property
    def status(self) -> Status:
        if self.exit_code == ExitCode.OK:
            return "passed" if self.code is None else "not_verified"
        return "failed" if self.exit_code == ExitCode.GATE_FAILED else "error"


def run_cell(cell: Cell, folder: Path, *, timeout_s: float) -> CellResult:
    """Export, verify and, where the cell asks for it, measure and evaluate.

    Args:
        cell: The cell.
        folder: Receives the artifact; the cell's own, as what a killed command leaves unfinished there is removed.
        timeout_s: Time limit for all of the cell's commands together.

    Raises:
        KeyboardInterrupt: Ctrl-C; the running command and all that it started are ended first.
    """
    started = time.perf_counter()
    digest = cell.digest()
    heard = _Heard()
    try:
        ending = _run_commands(cell, folder, started + timeout_s, timeout_s, heard)
    except MvtError as error:
        ending = _Ending(error.exit_code, error.error_code, error.message, error.hint)
    calls = cell.commands(TYPED_FOLDER)[: ending.calls] if ending.calls else ()
    return CellResult(
        cell=cell,
        digest=digest,
        status=ending.status,
        exit_code=ending.exit_code,
        code=ending.code,
        message=ending.message,
        hint=ending.hint,
        command=" && ".join(shlex.join(["mvt", *call]) for call in calls) or None,
        artifact=heard.artifact,
        profile=heard.profile,
        evaluation=heard.evaluation,
        seconds=round(time.perf_counter() - started, 3),
    )


def _run_commands(cell: Cell, folder: Path, deadline: float, timeout_s: float, heard: _Heard) -> _Ending:
    """Run the cell's commands until one fails; what each says goes into ``heard``."""
    for calls, call in enumerate(cell.commands(folder), start=1):
        with TemporaryDirectory(prefix="mvt-", ignore_cleanup_errors=True) as scratch:
            try:
                ended = _mvt(call, Path(scratch), max(deadline - time.perf_counter(), 0.0))
            finally:
                _remove_unfinished(folder)
        envelope = _envelope(ended.stdout)
        _note(call[0], envelope, heard)
        if ended.code != ExitCode.OK or envelope is None or envelope.get("status") != "ok":
            return _failure(call, ended, envelope, calls, timeout_s)
    if heard.artifact is not None and heard.artifact.parity.status == "not_verified":
        return _Ending(code="not_verified", message=f"Not verified: {heard.artifact.parity.reason}")
    return _Ending()


def _mvt(arguments: Sequence[str], scratch: Path, timeout_s: float) -> Finished:
    # -P: unlike the mvt command, -m would let files of the working folder stand in for modules.
    command = [sys.executable, "-P", "-m", "mobilevit_tools", *arguments, "--json"]
    return run(command, timeout_s=timeout_s, env=explicit({**os.environ, "TMPDIR": str(scratch)}), grace_s=GRACE_S)


def _remove_unfinished(folder: Path) -> None:
    for left in folder.glob("*/.*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _envelope(printed: str) -> dict[str, object] | None:
    lines = printed.splitlines()
    try:
        envelope = parse(lines[-1], "the envelope") if lines else None
    except BadInputError:  # another program printed it
        return None
    return envelope if isinstance(envelope, dict) else None


def _note(verb: str, envelope: Mapping[str, object] | None, heard: _Heard) -> None:
    """Read what a command found.

    Raises:
        BadInputError: It is not what that command gives.
    """
    result, source = envelope.get("result") if envelope is not None else None, f"what mvt {verb} printed"
    if result is None:
        return
    if verb == "export":
        heard.artifact = next(iter(typed(ExportResult, result, source).artifacts), None)
    elif verb == "profile":
        heard.profile = typed(ProfileResult, result, source)
    else:
        heard.evaluation = typed(Evaluated, result, source)


def _failure(
    call: Sequence[str], ended: Finished, envelope: Mapping[str, object] | None, calls: int, timeout_s: float
) -> _Ending:
    what = f"mvt {call[0]}"
    error = envelope.get("error") if envelope is not None else None
    if ended.code is None:
        message = f"{what} did not finish within its time limit of {timeout_s:g} s."
        hint = "Raise --timeout, or run the command separately to find out where it hangs."
        return _Ending(None, "timed_out", message, hint, calls)
    code = ended.code or ExitCode.INTERNAL  # one that claims success without a result has failed
    if error is not None:
        stated = typed(StatedError, error, f"what {what} printed")
        return _Ending(code, stated.code, stated.message, stated.hint, calls)
    if ended.code < 0:
        name = signal.Signals(-ended.code).name if -ended.code in set(signal.Signals) else f"signal {-ended.code}"
        memory = "The process may have run out of memory." if name == "SIGKILL" else None
        return _Ending(code, "crashed", f"{what} was ended by {name}.", memory, calls)
    said = f": {ended.last_words}" if ended.last_words else ""
    return _Ending(code, "crashed", f"{what} ended with code {ended.code} and no result{said}.", None, calls)
