"""One cell of a matrix and what came of it; both are data that go to JSON and back."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.versions import tool_versions
from mobilevit_tools.data.labelled import MAX_CSV_BYTES
from mobilevit_tools.documents import DocumentKind, typed
from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.models.references import folder_name, path_in
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.result import Shown
from mobilevit_tools.verification.evaluations import Evaluated

RESULT = DocumentKind("the result of a cell", "bad_results", "Give the results file that mvt sweep wrote.")
Status = Literal["passed", "not_verified", "failed", "error"]


@dataclass(frozen=True)
class Cell(ExportRequest):
    """One artifact to export and verify and, where that is asked for, to measure and evaluate on ``eval_data``.

    Attributes:
        device: Where the artifact runs after the export, as ``mvt devices`` lists them; None exports and verifies only.
        threads: Threads of one inference.
        rigor: The latency protocol's preset.

    Raises:
        UsageError: The export cannot be asked for, or the number of threads is below 1.
    """

    device: str | None = None
    threads: int = 1
    rigor: str = "quick"

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for."""
        super().__post_init__()
        if self.threads < 1:
            raise UsageError("A cell has at least one thread.", code="bad_cell")

    @property
    def name(self) -> str:
        """A name for people, such as ``care_s0/onnx/int8@count``."""
        target = f"{self.target}-{self.backend}" if self.backend else self.target
        return f"{self.model}/{target}/{self.precision}" + (f"@{self.device}" if self.device else "")

    def commands(self, folder: Path) -> tuple[tuple[str, ...], ...]:
        """Return the arguments of ``mvt``, a call each: export, then profile (device), then eval (eval_data).

        Args:
            folder: What ``mvt export`` is given as ``--output``.

        """
        artifact = str(folder / folder_name(self.model) / self.spec.variant / self.spec.file_name)
        threads = ("--threads", str(self.threads))
        commands = [("export", *self.arguments(), "--output", str(folder))]
        if self.device is not None:
            commands.append(("profile", artifact, "--device", self.device, *threads, "--rigor", self.rigor))
        if self.eval_data is not None:
            own = ("--model", self.model) if path_in(self.model) else ()
            order = () if self.class_order is None else ("--class-order", self.class_order)
            commands.append(("eval", artifact, self.eval_data, *own, *order, *threads))
        return tuple(commands)

    def digest(self) -> str:
        """Return a SHA-256 that changes with whatever the result depends on.

        These are the cell's fields, the versions of the tools, the content of the checkpoint, the labels and the
        model's own file (not of what that imports) or folder, the names and sizes of the photos in a folder or in
        a CSV.
        """
        own = path_in(self.model)
        paths = (self.checkpoint, self.labels, own, self.calibration, self.eval_data)
        read = [path and _content(path) for path in paths]
        known: dict[str, object] = {"cell": asdict(self), "tools": tool_versions(), "read": read}
        if self.eval_data is not None and Path(self.eval_data).is_file():
            known["listed"] = _listed(Path(self.eval_data))
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _content(name: str) -> str | None:
    """Digest a file, or the names and sizes of a folder's files; None where there is neither (a URL)."""
    path = Path(name)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _digest_of_lines(f"{file.stat().st_size}  {file.relative_to(path).as_posix()}" for file in files)


def _listed(source: Path) -> str | None:
    """Digest the names and sizes of the photos that a CSV lists; None where it cannot be read as one."""
    try:
        if source.stat().st_size > MAX_CSV_BYTES:
            return None
        with source.open(encoding="utf-8-sig", newline="") as file:
            names = [row[0].strip() for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error):
        return None
    return _digest_of_lines(f"{_size(source.parent / name)}  {name}" for name in names)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # there is none, or a NUL in its name
        return None


def _digest_of_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True, repr=False)
class CellResult(Shown):
    """What came of a cell.

    Attributes:
        cell: The cell.
        digest: Its digest when it ran.
        status: ``passed``; ``not_verified`` where nothing here can run the artifact, which is then no pass; ``failed``
            where a numeric gate failed; ``error`` for anything else.
        exit_code: That of the command that ended the cell, negative where a signal killed it; None where it hung.
        code: The error's identifier; ``crashed`` or ``timed_out`` where the command could not say one, ``not_verified``
            with that status; None if passed.
        message: The error, or why it was not verified, in one sentence; None if passed.
        hint: What to do next.
        command: The commands up to the one that failed, to be typed again; None if none did.
        artifact: The artifact; None where there is none.
        profile: What was measured of it; None where that was not asked for or not reached.
        evaluation: How it did on the photos, likewise.
        seconds: How long the cell took.
    """

    telling = ("cell", "status", "code", "message", "seconds")

    cell: Cell
    digest: str
    status: Status
    exit_code: int | None
    code: str | None
    message: str | None
    hint: str | None
    command: str | None
    artifact: ExportedArtifact | None
    profile: ProfileResult | None
    evaluation: Evaluated | None
    seconds: float


def read_cell_result(raw: object, source: str) -> CellResult:
    """Read a result back from its JSON value.

    Args:
        raw: The JSON value.
        source: Where it comes from, for the message.

    Raises:
        BadInputError: It is no such result.
    """
    return typed(CellResult, raw, source, RESULT)
