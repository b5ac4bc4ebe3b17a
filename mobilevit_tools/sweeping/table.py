"""A sweep's results as flat rows: for the table that people see, for scripts, and for Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import get_args, get_type_hints

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.result import Shown
from mobilevit_tools.staging import write_whole
from mobilevit_tools.sweeping.labels import Label

PARQUET = "results.parquet"


@dataclass(frozen=True, repr=False)
class Row(Shown):
    """One cell's result; None wherever the cell has nothing to say.

    Attributes:
        cell: A name for people, which no other cell of the sweep has.
        model: The model; ``net.py:build`` for one of your own, with its folder where two have that name.
        variant: What else tells it from other entries of the same model: checkpoint, input size, options.
        target: The export target.
        backend: Its backend.
        precision: The precision.
        device: Where the artifact was to run after the export, as the sweep says it.
        ran_on: The device that it was measured on, in its own words: which phone ``adb`` was.
        status: ``passed``, ``not_verified``, ``failed`` (a numeric gate) or ``error``.
        exit_code: That of the command that failed.
        code: The error's identifier.
        message: The error, or why it was not verified, in one sentence.
        hint: What to do next.
        parity: ``passed``, ``failed`` or ``not_verified``.
        max_abs_rel: The largest difference to PyTorch over the largest output.
        snr_db: Signal-to-noise ratio against PyTorch, in decibels.
        cosine: Cosine similarity with PyTorch.
        size_bytes: The artifact's size.
        params: Parameters of the model.
        macs: Multiply-accumulates of one image.
        threads: Threads of one inference.
        p50_ms: Median latency, in milliseconds.
        low_ms: The lower end of its 95 % interval.
        high_ms: The upper end.
        instructions: Instructions of one inference.
        peak_memory_bytes: The most memory that was resident.
        cpu: The CPU, where a machine measured itself.
        flags: What makes the times doubtful, by comma.
        top1: Share of the photos that were recognised.
        top5: Share of the photos whose class is among the best five.
        agreement: Share of the photos of which it says what PyTorch says.
        seconds: How long the cell took.
        digest: The cell's digest.
    """

    cell: str
    model: str
    variant: str
    target: str
    backend: str | None
    precision: str
    device: str | None
    ran_on: str | None
    status: str
    exit_code: int | None
    code: str | None
    message: str | None
    hint: str | None
    parity: str | None
    max_abs_rel: float | None
    snr_db: float | None
    cosine: float | None
    size_bytes: int | None
    params: int | None
    macs: int | None
    threads: int | None
    p50_ms: float | None
    low_ms: float | None
    high_ms: float | None
    instructions: int | None
    peak_memory_bytes: int | None
    cpu: str | None
    flags: str | None
    top1: float | None
    top5: float | None
    agreement: float | None
    seconds: float
    digest: str


def row_of(result: CellResult, label: Label) -> Row:
    """Flatten a result; ``label`` is what its cell is called."""
    cell, artifact, profile, evaluation = result.cell, result.artifact, result.profile, result.evaluation
    interval = _at(profile, "latency_ms", "interval")
    low, high = interval if isinstance(interval, tuple) else (None, None)
    flags = _at(profile, "flags")
    return Row(
        cell=label.cell,
        model=label.model,
        variant=label.variant,
        target=cell.target,
        backend=cell.backend,
        precision=cell.precision,
        device=cell.device,
        ran_on=_text(_at(profile, "device")),
        status=result.status,
        exit_code=result.exit_code,
        code=result.code,
        message=result.message,
        hint=result.hint,
        parity=_text(_at(artifact, "parity", "status")),
        max_abs_rel=_number(_at(artifact, "parity", "max_abs_rel")),
        snr_db=_number(_at(artifact, "parity", "snr_db")),
        cosine=_number(_at(artifact, "parity", "cosine")),
        size_bytes=_integer(_at(artifact, "size_bytes")),
        params=_integer(_at(artifact, "params")),
        macs=_integer(_at(artifact, "macs")),
        threads=_integer(_at(profile, "threads")),
        p50_ms=_number(_at(profile, "latency_ms", "p50")),
        low_ms=_number(low),
        high_ms=_number(high),
        instructions=_integer(_at(profile, "instructions")),
        peak_memory_bytes=_integer(_at(profile, "peak_memory_bytes")),
        cpu=_text(_at(profile, "host", "cpu")),
        flags=", ".join(map(str, flags)) if isinstance(flags, tuple) else None,
        top1=_number(_at(evaluation, "top1")),
        top5=_number(_at(evaluation, "top5")),
        agreement=_number(_at(evaluation, "agreement")),
        seconds=result.seconds,
        digest=result.digest,
    )


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    """Write rows as one Parquet file, which replaces an earlier one when it is whole.

    Raises:
        BadInputError: The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema(
        [
            (name, next(kinds[each] for each in (hint, *get_args(hint)) if each in kinds))
            for name, hint in get_type_hints(Row).items()
        ]
    )
    content = BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), content)
    write_whole(path, content.getvalue())


def _at(value: object, *keys: str) -> object:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return tuple(value) if isinstance(value, list) else value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _integer(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
