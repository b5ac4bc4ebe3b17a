from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.profiling.environment import HostInfo
from mobilevit_tools.profiling.statistics import summarize
from mobilevit_tools.sweeping.job import Job
from mobilevit_tools.sweeping.labels import Label
from mobilevit_tools.sweeping.table import Row, row_of, write_parquet
from tests.found import exported, judged, measured, parity

CELL = Cell("care_s0.imagenette", "executorch", "int8", "xnnpack", device="adb", threads=2)
MEASURED = CellResult(
    cell=CELL,
    digest="d" * 64,
    status="passed",
    exit_code=0,
    code=None,
    message=None,
    hint=None,
    command=None,
    artifact=exported(
        size_bytes=1234, params=7000, macs=9000, parity=parity(max_abs_rel=0.01, snr_db=27.0, cosine=0.999)
    ),
    profile=measured(
        device="Pixel 8, Android 15 (adb:A1)",
        latency_ms=replace(summarize([3.5] * 30), interval=(3.4, 3.75)),
        threads=2,
        peak_memory_bytes=5_000_000_000,
        host=HostInfo("A CPU", 2, "Linux", 0.1, 0.2, 0.0, "performance", {}),
        flags=("busy_host", "drift"),
    ),
    evaluation=judged(top1=0.75, top5=1.0, agreement=0.98),
    seconds=12.5,
)
LABEL = Label("care_s0 (best.pth)/executorch-xnnpack/int8@adb", "care_s0", "best.pth")
EMPTY = Job(replace(CELL, device=None), "e" * 64, None, 1.0).error("crashed", "It broke.", exit_code=-9)


def test_a_measured_cell_is_one_flat_row() -> None:
    assert asdict(row_of(MEASURED, LABEL)) == {
        "cell": "care_s0 (best.pth)/executorch-xnnpack/int8@adb",
        "model": "care_s0",
        "variant": "best.pth",
        "target": "executorch",
        "backend": "xnnpack",
        "precision": "int8",
        "device": "adb",
        "ran_on": "Pixel 8, Android 15 (adb:A1)",
        "status": "passed",
        "exit_code": 0,
        "code": None,
        "message": None,
        "hint": None,
        "parity": "passed",
        "max_abs_rel": 0.01,
        "snr_db": 27.0,
        "cosine": 0.999,
        "size_bytes": 1234,
        "params": 7000,
        "macs": 9000,
        "threads": 2,
        "p50_ms": 3.5,
        "low_ms": 3.4,
        "high_ms": 3.75,
        "instructions": None,
        "peak_memory_bytes": 5_000_000_000,
        "cpu": "A CPU",
        "flags": "busy_host, drift",
        "top1": 0.75,
        "top5": 1.0,
        "agreement": 0.98,
        "seconds": 12.5,
        "digest": "d" * 64,
    }


def test_a_cell_that_came_to_nothing_has_a_row_too() -> None:
    row = row_of(EMPTY, LABEL)
    assert (row.status, row.exit_code, row.code, row.message) == ("error", -9, "crashed", "It broke.")
    known = {"cell", "model", "variant", "target", "backend", "precision", "status", "exit_code", "code", "message"}
    known |= {"seconds", "digest"}
    assert {field.name for field in fields(Row) if getattr(row, field.name) is not None} == known


def test_an_interval_that_few_runs_cannot_give() -> None:
    row = row_of(replace(MEASURED, profile=measured(latency_ms=replace(summarize([3.5]), interval=None))), LABEL)
    assert (row.p50_ms, row.low_ms, row.high_ms) == (3.5, None, None)


def test_parquet_keeps_values_and_types(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    path.write_text("an earlier one")
    rows = [row_of(MEASURED, LABEL), row_of(EMPTY, LABEL)]
    write_parquet(rows, path)
    table = pq.read_table(path)
    assert table.to_pylist() == [asdict(row) for row in rows]
    types = {
        name: table.schema.field(name).type for name in ("ran_on", "p50_ms", "peak_memory_bytes", "top1", "exit_code")
    }
    assert types == {
        "ran_on": pa.string(),
        "p50_ms": pa.float64(),
        "peak_memory_bytes": pa.int64(),
        "top1": pa.float64(),
        "exit_code": pa.int64(),
    }
    write_parquet(rows[1:], path)
    assert pq.read_table(path).schema == table.schema
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_parquet_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    path.mkdir()
    with pytest.raises(BadInputError, match=f"{path} cannot be written"):
        write_parquet([row_of(EMPTY, LABEL)], path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
