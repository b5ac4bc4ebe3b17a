"""Results of cells as a run stores them, to compare and to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mobilevit_tools.exporters._base import Delegation
from mobilevit_tools.matrix.cell import Cell, CellResult
from tests import found
from tests.found import exported, measured

CELL = Cell("care_s0", "executorch", device="count", random_weights=True)


def passed(
    cell: Cell = CELL,
    *,
    size: int = 1_000_000,
    snr_db: float = 120.0,
    parity: str = "passed",
    calls: int = 1,
    outside: Mapping[str, int] | None = None,
    instructions: int | None = 5_000_000,
    macs: int = 700,
    params: int = 70,
) -> CellResult:
    """Return a cell that passed, with these figures."""
    return CellResult(
        cell=cell,
        digest="0" * 64,
        status="passed",
        exit_code=0,
        code=None,
        message=None,
        hint=None,
        command=None,
        artifact=exported(
            target=cell.target,
            size_bytes=size,
            params=params,
            macs=macs,
            parity=found.parity(status=parity, snr_db=snr_db),
            delegation=Delegation(calls, dict(outside or {})),
        ),
        profile=measured(instructions=instructions),
        evaluation=None,
        seconds=12.25,
    )


UNRUNNABLE = "Not verified: The runtime lacks these operators: delegate:VulkanBackend."


def not_verified(cell: Cell = CELL, *, size: int = 1_000_000) -> CellResult:
    """Return a cell whose artifact nothing here can run."""
    made = passed(cell, size=size, parity="not_verified")
    return replace(made, status="not_verified", code="not_verified", message=UNRUNNABLE)


def broken(
    cell: Cell,
    *,
    exit_code: int | None = -11,
    message: str = "mvt export was ended by SIGSEGV.",
    hint: str | None = None,
) -> CellResult:
    """Return a cell that has nothing to show but its error."""
    return CellResult(
        cell=cell,
        digest="0" * 64,
        status="failed" if exit_code == 4 else "error",
        exit_code=exit_code,
        code="crashed",
        message=message,
        hint=hint,
        command="mvt export 'a b' --output out",
        artifact=None,
        profile=None,
        evaluation=None,
        seconds=1.0,
    )
