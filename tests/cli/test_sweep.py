from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.profiling.statistics import summarize
from mobilevit_tools.sweeping.expand import expand
from mobilevit_tools.sweeping.job import Job
from mobilevit_tools.sweeping.ledger import RESULTS, open_ledger
from mobilevit_tools.sweeping.plan import read_plan
from tests.cli.conftest import Ran
from tests.conftest import SMALL
from tests.found import exported, measured, parity
from tests.sweeping.stand_in import PATIENCE_S, eventually

Mvt = Callable[..., Ran]
LATENCY = replace(summarize([3.25] * 30), interval=(3.0, 3.5))


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of two cells: one that only exports, one that measures on this machine."""
    path = tmp_path / "sweep.toml"
    path.write_text(
        f'targets = ["onnx"]\ndevices = ["none", "host"]\n[[models]]\nname = "{SMALL}"\nrandom_weights = true\n'
    )
    return path


def finish(plan: Path, folder: Path, **changes: object) -> list[CellResult]:
    """Write results into a sweep's folder as if its cells had run."""
    results = []
    with open_ledger(folder) as ledger:
        for cell in expand(read_plan(plan), plan.parent):
            passed = replace(
                Job(cell, cell.digest(), None, 1.0).error("x", "x", exit_code=0),
                status="passed",
                code=None,
                message=None,
                artifact=exported(size_bytes=863726, parity=parity(snr_db=125.8)),
                profile=None if cell.device is None else measured(latency_ms=LATENCY),
                seconds=12.0,
            )
            results.append(replace(passed, **changes))  # type: ignore[arg-type]
            ledger.append(results[-1])
    return results


@pytest.mark.thorough(twin="test_a_failed_gate_is_exit_code_4_and_shown")
def test_a_real_sweep_is_told_shown_and_stored(mvt: Mvt, plan: Path, tmp_path: Path) -> None:
    plan.write_text(plan.read_text() + '[[exclude]]\ndevice = "none"\n')
    ran = mvt("sweep", plan, "--output", tmp_path / "sweep", "--keep-artifacts")
    assert ran.code == 0, ran.err
    assert ran.err.startswith(f"[1/1] {SMALL}/onnx/fp32@host: passed, ")
    heading = "cell params (M) GMACs SNR dB size median ms (95 %) time"
    assert ran.out.splitlines()[0].split() == heading.split()
    assert "1 passed, 0 failed, 0 errors; 0 finished before" in ran.out
    (row,) = pq.read_table(tmp_path / "sweep" / "results.parquet").to_pylist()
    assert row["snr_db"] > 80
    assert row["low_ms"] <= row["p50_ms"] <= row["high_ms"]
    assert row["params"] > 200_000
    (artifact,) = (tmp_path / "sweep" / "artifacts").glob(f"*/{SMALL}/onnx-fp32/model.onnx")
    assert artifact.stat().st_size == row["size_bytes"]

    again = mvt("sweep", plan, "--output", tmp_path / "sweep", "--keep-artifacts", "--json")
    assert again.code == 0
    assert again.err == "1 of 1 cells are already finished.\n"
    assert again.envelope["result"]["reused"] == 1
    assert again.envelope["result"]["rows"] == [row]


def test_a_failed_gate_is_exit_code_4_and_shown(mvt: Mvt, plan: Path, tmp_path: Path) -> None:
    finish(plan, tmp_path / "sweep", status="failed", exit_code=4, code="gate_failed", message="It computes otherwise.")
    ran = mvt("sweep", plan, "--output", tmp_path / "sweep")
    assert ran.code == 4
    assert f"{SMALL}/onnx/fp32@host: It computes otherwise." in ran.out
    assert "error: 2 of 2 cells failed their gate." in ran.err
    envelope = mvt("sweep", plan, "--output", tmp_path / "sweep", "--json").envelope
    assert envelope["status"] == "error"
    assert envelope["error"]["code"] == "sweep_failed"
    assert [row["status"] for row in envelope["result"]["rows"]] == ["failed", "failed"]


def test_a_line_that_was_cut_off_is_named(mvt: Mvt, plan: Path, tmp_path: Path) -> None:
    finish(plan, tmp_path / "sweep")
    with (tmp_path / "sweep" / RESULTS).open("a") as file:
        file.write("{")
    ran = mvt("sweep", plan, "--output", tmp_path / "sweep")
    assert ran.code == 0
    assert ran.err.startswith(f"Line 3 of {tmp_path}/sweep/{RESULTS} is truncated")


def test_columns_that_nobody_fills_are_left_out(mvt: Mvt, plan: Path, tmp_path: Path) -> None:
    finish(plan, tmp_path / "sweep", profile=None)
    ran = mvt("sweep", plan, "--output", tmp_path / "sweep")
    assert ran.out.splitlines()[0].split() == ["cell", "params", "(M)", "GMACs", "SNR", "dB", "size", "time"]


def test_a_latency_is_shown_with_its_interval_and_with_what_makes_it_doubtful(
    mvt: Mvt, plan: Path, tmp_path: Path
) -> None:
    plan.write_text(plan.read_text() + '[[exclude]]\ndevice = "none"\n')
    made = exported(params=7_340_000, macs=717_796_096)
    finish(plan, tmp_path / "sweep", artifact=made, profile=measured(latency_ms=LATENCY, flags=("busy_host", "drift")))
    ran = mvt("sweep", plan, "--output", tmp_path / "sweep")
    row = " ".join(ran.out.splitlines()[1].split())
    assert row.startswith(f"{SMALL}/onnx/fp32@host 7.34 0.718 ")
    assert "3.25 (3.00 to 3.50)" in row
    assert f"busy host: {SMALL}/onnx/fp32@host\ndrift: {SMALL}/onnx/fp32@host\n" in ran.out


def test_a_sweep_that_is_interrupted_ends_its_cells_and_says_that_it_goes_on(plan: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mobilevit_tools", "sweep", plan, "--output", tmp_path / "sweep", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)

    def exporting() -> bool:
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended meanwhile
                lines.append(path.read_bytes())
        return any(b"\0export\0" in line and os.fsencode(tmp_path) in line for line in lines)

    eventually(exporting)
    sweep.send_signal(signal.SIGINT)
    said = json.loads(sweep.communicate(timeout=PATIENCE_S)[0])
    assert sweep.returncode == 130
    assert said["error"]["message"] == (
        f"Interrupted; finished cells are kept in {tmp_path}/sweep; the same command resumes the sweep."
    )
    eventually(lambda: not exporting())
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", plan.name}


def test_a_plan_that_is_wrong_is_bad_input(mvt: Mvt, plan: Path) -> None:
    plan.write_text(plan.read_text().replace("targets", "target"))
    ran = mvt("sweep", plan, "--json")
    assert ran.code == 3
    assert ran.envelope["error"]["code"] == "bad_plan"
    assert "there is no key target" in ran.envelope["error"]["message"] or "targets is missing" in ran.out


def test_ray_is_optional(mvt: Mvt, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilevit_tools.sweeping.cluster.find_spec", lambda name: None)
    ran = mvt("sweep", plan, "--engine", "ray", "--json")
    assert ran.code == 5
    assert ran.envelope["error"]["hint"] == "pip install 'mobilevit-tools[ray]'"


def test_a_cluster_that_is_not_there_is_a_device_error(mvt: Mvt, plan: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        ran = mvt("sweep", plan, "--engine", "ray", "--address", f"127.0.0.1:{taken.getsockname()[1]}", "--json")
    assert ran.code == 6
    assert ran.envelope["error"]["code"] == "no_cluster"
    assert json.loads(ran.out)["error"]["hint"].startswith("`ray start --head`")


def test_options_are_checked(mvt: Mvt, plan: Path) -> None:
    assert mvt("sweep", plan, "--engine", "slurm").code == 2
    assert mvt("sweep", plan, "--jobs", "0").code == 2
