"""What a sweep has finished, one line a cell, in a file that is only ever appended to, by one sweep at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.matrix.cell import CellResult, read_cell_result

RESULTS = "results.jsonl"
_LOCK = ".lock"


class Ledger:
    """The results in a sweep's folder; get one with :func:`open_ledger`.

    Attributes:
        path: The file.
        results: The last result of every cell, by its digest.
        torn: What was found of a line that a kill cut off, in one sentence; None where the file was whole.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.results: dict[str, CellResult] = {}
        self.torn: str | None = None
        self._file = file
        self._read()

    def append(self, result: CellResult) -> None:
        """Add a result; when this returns, not even a power cut can take it away."""
        line = json.dumps(jsonable(result), allow_nan=False).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.results[result.digest] = result

    def _read(self) -> None:
        start = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                self.torn = f"Line {number} of {self.path} was cut off; its cell runs again."
                self._file.truncate(start)
                self._file.seek(0, os.SEEK_END)
                return
            start += len(line)
            source = f"Line {number} of {self.path}"
            try:
                result = read_cell_result(json.loads(line), source)
            except ValueError as error:
                raise BadInputError(
                    f"{source} is not JSON.", hint="Mend the line or remove it.", code="bad_results"
                ) from error
            self.results[result.digest] = result


@contextmanager
def open_ledger(folder: Path) -> Iterator[Ledger]:
    """Take a sweep's folder, which is made where it is missing, and read what is finished in it.

    Raises:
        UsageError: Another sweep is writing there.
        BadInputError: The folder cannot be written to, or its results cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("ab")
    except OSError as error:
        raise BadInputError(f"{folder} cannot be written to: {error.strerror}.", code="bad_output") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"Another sweep is writing to {folder}.",
                hint="Wait for it, or give this one another --output.",
                code="sweep_running",
            ) from error
        path = folder / RESULTS
        with path.open("a+b") as file:
            file.seek(0)
            yield Ledger(path, file)
