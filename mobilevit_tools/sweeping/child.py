"""A process for one cell, which ends with all that it started as soon as whoever waits for it is gone.

Nothing of a killed sweep goes on measuring beside the next one; see :mod:`mobilevit_tools.lifeline`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, cast

from pydantic import TypeAdapter

from mobilevit_tools.documents import parse, typed
from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.lifeline import take_job
from mobilevit_tools.matrix.aside import without_artifact
from mobilevit_tools.matrix.cell import RESULT, Cell, CellResult
from mobilevit_tools.sweeping import launch
from mobilevit_tools.sweeping.job import Job

_LAUNCH = (sys.executable, "-I", "-S", launch.__file__)
_PRINTED = "what a cell's process printed"


class RunCell(Protocol):
    """What runs one cell, as :func:`mobilevit_tools.matrix.run.run_cell` does."""

    def __call__(self, cell: Cell, folder: Path, *, timeout_s: float) -> CellResult:
        """Run ``cell``; ``folder`` receives its artifact."""


class Child:
    """The process of one cell, seen from whoever waits for it."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        """Start it, with ``environment`` on top of this process's own."""
        self._job = job
        stdin, lifeline = os.pipe()
        self._lifeline = os.fdopen(lifeline, "wb")
        self._process = subprocess.Popen(
            # -P: unlike the mvt command, -m would let files of the working folder stand in for modules.
            [*_LAUNCH, sys.executable, "-P", "-m", "mobilevit_tools.sweeping.child"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        os.close(stdin)

    def result(self) -> CellResult:
        """Wait for the cell's result; a process that ends without one is an error of its cell."""
        with suppress(BrokenPipeError):
            self._lifeline.write(json.dumps(jsonable(self._job)).encode() + b"\n")
            self._lifeline.flush()
        out, err = self._process.communicate()
        self.stop()
        try:
            return typed(CellResult, parse(out, _PRINTED, RESULT), _PRINTED, RESULT)
        except BadInputError:
            words = err.decode(errors="replace").strip().splitlines()
            said = f": {words[-1].rstrip('.')}" if words else ""
            code = self._process.returncode
            return self._job.error(
                "crashed", f"The cell's process ended with code {code}{said}.", exit_code=code or ExitCode.INTERNAL
            )

    def stop(self) -> None:
        """Let go of the process: what still runs in it is interrupted."""
        with suppress(BrokenPipeError):
            self._lifeline.close()


def main() -> None:
    """Read a job from standard input, run it, and print its result."""
    line, _ = take_job()
    job = TypeAdapter(Job).validate_json(line)
    print(json.dumps(jsonable(_run(job))))  # noqa: T201


def _run(job: Job) -> CellResult:
    module, _, name = job.runner.partition(":")
    run = cast("RunCell", getattr(import_module(module), name))
    if job.folder is None:
        with TemporaryDirectory(prefix="mvt-sweep-", ignore_cleanup_errors=True) as folder:
            result = without_artifact(run(job.cell, Path(folder), timeout_s=job.timeout_s), Path(folder))
    else:
        try:
            shutil.rmtree(job.folder, ignore_errors=True)  # of an attempt that was killed
            job.folder.mkdir()
        except OSError as error:
            return job.error(
                "no_folder",
                f"{job.folder} cannot be made on this machine: {error.strerror}.",
                hint="--keep-artifacts needs a folder that all machines of the sweep share.",
                exit_code=ExitCode.BAD_INPUT,
            )
        result = run(job.cell, job.folder, timeout_s=job.timeout_s)
    if result.digest != job.digest:
        return job.error(
            "changed",
            "The checkpoint, the photos or the versions of the tools differ from those at the start of the sweep.",
            hint="Install the same versions on every machine, and start the sweep again.",
            exit_code=ExitCode.BAD_INPUT,
        )
    return result


if __name__ == "__main__":
    main()
