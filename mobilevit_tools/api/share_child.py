"""A process that makes a share of an export's artifacts, and tells on a pipe of each step and each artifact.

It ends without a word where it cannot load the same model as the process that started it: that one makes them then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pydantic import TypeAdapter

from mobilevit_tools.api.requested import load_requested, plan_requested
from mobilevit_tools.api.share import Share
from mobilevit_tools.errors import MvtError, told
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.lifeline import take_job
from mobilevit_tools.models.factory import with_labels
from mobilevit_tools.models.in_memory import digest_of
from mobilevit_tools.progress import Advance, silent

if TYPE_CHECKING:
    from mobilevit_tools.models.factory import LoadedModel


class _Teller:
    """Tells what this process does, a JSON value a line."""

    def __init__(self, to: TextIO, interrupted: threading.Event) -> None:
        self._to = to
        self._interrupted = interrupted

    def say(self, **what: object) -> None:
        print(json.dumps(jsonable(what)), file=self._to, flush=True)

    @contextmanager
    def progress(self, step: str, parts: int = 0, /) -> Iterator[Advance]:
        self.say(step=step, parts=parts)
        done = False
        try:
            yield lambda: self.say(advance=True)
            done = True
        finally:
            self.say(end=done)
        if self._interrupted.is_set():  # a library swallowed that
            raise KeyboardInterrupt


def main() -> None:
    """Make the share that the file holds whose path standard input says; the argument is the pipe's descriptor."""
    with suppress(KeyboardInterrupt):  # nobody waits for it any more
        _make(*take_job())


def _make(line: bytes, interrupted: threading.Event) -> None:
    share = TypeAdapter(Share).validate_json(Path(os.fsdecode(line.rstrip(b"\n"))).read_bytes())
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as told_to:
        _run(share, _Teller(told_to, interrupted))


def _run(share: Share, teller: _Teller) -> None:
    loaded = _load(share)
    if loaded is None:
        return
    try:
        plans = plan_requested(share.requests, loaded, silent)
        for index, artifact in share.make(loaded, plans, teller.progress):
            teller.say(made=index, artifact=artifact)
    except MvtError as error:
        cause = error.__cause__
        trace = None if cause is None else "".join(traceback.format_exception(cause))
        teller.say(error=told(error), cause=trace)


def _load(share: Share) -> LoadedModel | None:
    """Load the model; None where it is another than the one that is exported."""
    asking = replace(share.asking, labels=None)  # a file of labels may be there to be read only once
    try:
        loaded = load_requested(asking, bundle=share.bundle)
    except MvtError:
        return None
    if digest_of(loaded.module) != share.digest:
        return None
    return with_labels(loaded, share.labels)


if __name__ == "__main__":
    main()
