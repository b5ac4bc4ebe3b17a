"""Artifacts that another process makes meanwhile, seen from the one that waits for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.staging import discard_unfinished
from mobilevit_tools.child import explicit
from mobilevit_tools.devices.process import kill_group
from mobilevit_tools.documents import typed
from mobilevit_tools.errors import MvtError, retold
from mobilevit_tools.jsonable import jsonable

if TYPE_CHECKING:
    from mobilevit_tools.api.share import Share
    from mobilevit_tools.progress import Progress

_CHILD = "mobilevit_tools.api.share_child"
_SAID = "what an export's process said"
GRACE_S = 5.0
"""How long a process that is let go of has to throw away what is unfinished."""


class Elsewhere:
    """A process that makes a share of an export's artifacts; until it is given one, it imports what that takes.

    Args:
        progress: Told of its steps, in a thread of its own.

    Attributes:
        made: What it has made so far, by place in the export.
        error: Why it stopped; None where it did not say.
    """

    def __init__(self, progress: Progress) -> None:
        self.made: dict[int, ExportedArtifact] = {}
        self.error: MvtError | None = None
        self._share: Share | None = None
        self._progress = progress
        self._failure: BaseException | None = None
        self._scratch = TemporaryDirectory(prefix="mvt-", ignore_cleanup_errors=True)
        stdin, lifeline = os.pipe()
        reading, telling = os.pipe()
        try:
            self._process = subprocess.Popen(
                # -P: unlike the mvt command, -m would let files of the working folder stand in for modules.
                [sys.executable, "-P", "-m", _CHILD, str(telling)],
                stdin=stdin,
                pass_fds=(telling,),
                env=explicit({**os.environ, "TMPDIR": self._scratch.name}),
                start_new_session=True,
            )
        finally:
            os.close(stdin)
            os.close(telling)
        self._lifeline = lifeline
        self._told = os.fdopen(reading, "rb")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def begin(self, share: Share) -> None:
        """Let it make the artifacts of a share."""
        self._share = share
        job = Path(self._scratch.name, "share.json")
        job.write_text(json.dumps(jsonable(share)), encoding="utf-8")
        with suppress(BrokenPipeError):
            os.write(self._lifeline, os.fsencode(job) + b"\n")  # short: nobody waits until it is read

    def left(self) -> tuple[int, ...]:
        """Wait until it has ended; return what it made nothing of without saying why.

        Raises:
            BaseException: What ``progress`` raised.
        """
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return () if self.error else tuple(index for index in self._chosen if index not in self.made)

    def stop(self) -> None:
        """End it, unless it has ended by itself; nothing that it left unfinished stays."""
        os.close(self._lifeline)
        try:
            self._process.wait(0.0 if self._share is None else GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            kill_group(self._process)
            self._process.wait()
            self._thread.join()
            self._told.close()
            if self._share is not None:
                for index in self._share.chosen:
                    discard_unfinished(self._share.finals[index], self._process.pid)
            self._scratch.cleanup()

    @property
    def _chosen(self) -> tuple[int, ...]:
        return () if self._share is None else self._share.chosen

    def _listen(self) -> None:
        try:
            lines = (json.loads(line) for line in self._told if line.endswith(b"\n"))
            for said in lines:
                self._hear(said, lines)
        except BaseException as failure:  # it is raised where somebody waits
            self._failure = failure

    def _hear(self, said: dict[str, Any], lines: Iterator[dict[str, Any]]) -> None:
        if "step" in said:
            self._follow(said["step"], said["parts"], lines)
        elif "made" in said:
            self.made[said["made"]] = typed(ExportedArtifact, said["artifact"], _SAID)
        elif "error" in said:
            error = retold(said["error"])
            error.__cause__ = None if said["cause"] is None else _ElsewhereError(said["cause"])
            self.error = error

    def _follow(self, step: str, parts: int, lines: Iterator[dict[str, Any]]) -> None:
        with suppress(_AbandonedError), self._progress(step, parts) as advance:
            for said in lines:
                if "end" in said:
                    if said["end"]:
                        return
                    break
                if "advance" in said:
                    advance()
                else:
                    self._hear(said, lines)
            raise _AbandonedError


class _AbandonedError(Exception):
    """A step did not come to its end: there is nothing to say of how long it took."""


class _ElsewhereError(Exception):
    """What a library raised in another process, with where that was."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
