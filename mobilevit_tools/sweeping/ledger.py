"""What a sweep has finished, one line a cell, in a file that is only ever appended to, by one sweep at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.matrix.cell import Cell, CellResult, read_cell_result

RESULTS = "results.jsonl"
MAX_LINE_BYTES = 1 << 25
_LOCK = ".lock"


class Ledger:
    """The results in a sweep's folder; get one with :func:`open_ledger`.

    Attributes:
        path: The file.
        results: The last result of every digest.
        torn: What was found of a line that a kill cut off, in one sentence; None where the file was whole.
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        """Read ``path``; ``file`` appends to it."""
        self.path = path
        self.results: dict[str, CellResult] = {}
        self.torn: str | None = None
        self._file = file
        self._last: dict[Cell, str] = {}
        self._read()

    def append(self, result: CellResult) -> None:
        """Add a result; when this returns, not even a power cut can take it away.

        Raises:
            BadInputError: There is no room for it.
        """
        line = memoryview(json.dumps(jsonable(result), allow_nan=False).encode() + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._learn(result)

    def confirm(self, result: CellResult) -> None:
        """Add a result once more where the last line of its cell is another: readers take a cell's last line.

        Raises:
            BadInputError: There is no room for it.
        """
        if self._last.get(result.cell) != result.digest:
            self.append(result)

    def _read(self) -> None:
        start = number = 0
        with self.path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                source = f"Line {number} of {self.path}"
                if len(line) == MAX_LINE_BYTES:
                    raise BadInputError(f"{source} is too long.", code="bad_results")
                if not line.endswith(b"\n"):
                    self.torn = f"{source} is truncated; its cell runs again."
                    self._file.truncate(start)
                    return
                start += len(line)
                self._learn(_parse(line, source))

    def _learn(self, result: CellResult) -> None:
        self.results[result.digest] = result
        self._last[result.cell] = result.digest


def _parse(line: bytes, source: str) -> CellResult:
    try:
        return read_cell_result(json.loads(line), source)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{source} is not JSON.", hint="Fix or remove the line.", code="bad_results") from error


@contextmanager
def open_ledger(folder: Path) -> Iterator[Ledger]:
    """Take a sweep's folder, which is made where it is missing, and read what is finished in it.

    Raises:
        UsageError: Another sweep is writing there.
        BadInputError: The folder cannot be written to, or its results cannot be read.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK).open("ab"))
            file = stack.enter_context((folder / RESULTS).open("ab", buffering=0))
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"Another sweep is writing to {folder}.",
                hint="Wait for it, or choose another --output.",
                code="sweep_running",
            ) from error
        yield Ledger(folder / RESULTS, file)


def _unwritable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(f"{path} cannot be written to: {error.strerror}.", code="bad_output")
