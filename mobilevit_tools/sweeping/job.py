"""A cell that is to be run, and the result of one that has none of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.errors import ExitCode
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.sweeping.needs import Needs, needs_of

RUN_CELL = "mobilevit_tools.matrix.run:run_cell"
"""The function that runs a cell: ``(cell, folder, *, timeout_s) -> CellResult``, as ``module:name``."""


@dataclass(frozen=True)
class Job:
    """A cell with all that its process must know.

    Attributes:
        cell: The cell.
        digest: Its digest when the sweep began.
        folder: Receives the artifact; None for a temporary folder.
        timeout_s: How long the cell may take.
        runner: The function that runs it; see :data:`RUN_CELL`.
    """

    cell: Cell
    digest: str
    folder: Path | None
    timeout_s: float
    runner: str = RUN_CELL

    @property
    def needs(self) -> Needs:
        """What the cell occupies."""
        return needs_of(self.cell.device)

    def error(
        self, code: str, message: str, *, hint: str | None = None, exit_code: int | None = ExitCode.INTERNAL
    ) -> CellResult:
        """Return the result of a cell that has none of its own."""
        return CellResult(
            cell=self.cell,
            digest=self.digest,
            status="error",
            exit_code=exit_code,
            code=code,
            message=message,
            hint=hint,
            command=None,
            artifact=None,
            profile=None,
            evaluation=None,
            seconds=0.0,
        )
