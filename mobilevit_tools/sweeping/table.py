"""A sweep's results as flat rows: for the table that people see, for scripts, and for Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import get_args, get_type_hints

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.result import Shown
from mobilevit_tools.sweeping.labels import Label
from mobilevit_tools.verification.evaluations import EvalResult
from mobilevit_tools.writing import write_whole

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

    telling = ("cell", "status", "params", "macs", "snr_db", "size_bytes", "p50_ms", "instructions", "top1", "flags")

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
    cell, made, profile = result.cell, result.artifact, result.profile
    parity = None if made is None else made.parity
    latency = None if profile is None else profile.latency_ms
    low, high = (latency.interval if latency else None) or (None, None)
    judged = result.evaluation if isinstance(result.evaluation, EvalResult) else None
    return Row(
        cell=label.cell,
        model=label.model,
        variant=label.variant,
        target=cell.target,
        backend=cell.backend,
        precision=cell.precision,
        device=cell.device,
        ran_on=profile.device if profile else None,
        status=result.status,
        exit_code=result.exit_code,
        code=result.code,
        message=result.message,
        hint=result.hint,
        parity=parity.status if parity else None,
        max_abs_rel=parity.max_abs_rel if parity else None,
        snr_db=parity.snr_db if parity else None,
        cosine=parity.cosine if parity else None,
        size_bytes=made.size_bytes if made else None,
        params=made.params if made else None,
        macs=made.macs if made else None,
        threads=profile.threads if profile else None,
        p50_ms=latency.p50 if latency else None,
        low_ms=low,
        high_ms=high,
        instructions=profile.instructions if profile else None,
        peak_memory_bytes=profile.peak_memory_bytes if profile else None,
        cpu=profile.host.cpu if profile and profile.host else None,
        flags=", ".join(profile.flags) if profile else None,
        top1=judged.top1 if judged else None,
        top5=judged.top5 if judged else None,
        agreement=judged.agreement if judged else None,
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
    hints = get_type_hints(Row)
    columns = [(each.name, hints[each.name]) for each in fields(Row)]
    schema = pa.schema(
        [(name, next(kinds[each] for each in (hint, *get_args(hint)) if each in kinds)) for name, hint in columns]
    )
    content = BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), content)
    write_whole(path, content.getvalue())
