"""Sweeps on a real Ray cluster of two nodes, both on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from mobilevit_tools.errors import DeviceError, MissingDependencyError, UsageError
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.sweeping.child import Child
from mobilevit_tools.sweeping.cluster import RayWorkers
from mobilevit_tools.sweeping.job import Job
from mobilevit_tools.sweeping.schedule import ATTEMPTS, run_jobs
from tests.conftest import SMALL
from tests.sweeping.conftest import ROOT
from tests.sweeping.stand_in import PATIENCE_S, RUNNER, Entry, entries, eventually, stand_in
from tests.tiers import thorough

STORE = {"object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two CPUs each; both may measure themselves, and each has a phone of its own."""
    before = dict(os.environ)
    folder = tempfile.mkdtemp(prefix="mvt-", dir="/tmp")  # a socket's path must be short
    Path(folder, "ray").mkdir()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    made = Cluster()
    try:
        made.add_node(
            num_cpus=2,
            resources={"device:host": 1, "device:adb:A": 1},
            include_dashboard=False,
            **STORE,
        )
        made.add_node(num_cpus=2, resources={"device:host": 1, "device:adb:B": 1}, **STORE)
        made.wait_for_nodes()
        yield made
    finally:
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.clear()
        os.environ |= before


@pytest.fixture(scope="module")
def workers(cluster: Cluster) -> Iterator[RayWorkers]:
    """One connection for all tests: each new one makes Ray start new workers."""
    with closing(RayWorkers(cluster.address)) as connected:
        yield connected


def job_of(cell: Cell) -> Job:
    return Job(cell, cell.digest(), None, 60.0, RUNNER)


def run(workers: RayWorkers, *cells: Cell, allow_contention: bool = False) -> dict[str, CellResult]:
    jobs = [job_of(cell) for cell in cells]
    results = run_jobs(jobs, workers, allow_contention=allow_contention, watch=lambda event: None)
    return {result.cell.name: result for result in results}


def nodes_of(runs: list[Entry]) -> set[str | None]:
    return {entry.node for entry in runs}


def test_work_spreads_over_all_nodes(workers: RayWorkers, tmp_path: Path) -> None:
    cells = [stand_in(tmp_path, device, seconds=1.0, mark=f"{n}") for n, device in enumerate((None, "count") * 2)]
    results = run(workers, *cells)
    assert {result.message for result in results.values()} == {None}
    runs = entries(tmp_path)
    assert len(runs) == 4
    assert len(nodes_of(runs)) == 2
    assert None not in nodes_of(runs)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.thorough(twin="sweeping/test_schedule.py::test_a_device_runs_one_cell_at_a_time")
def test_a_device_runs_one_cell_at_a_time_on_the_node_that_has_it(workers: RayWorkers, tmp_path: Path) -> None:
    cells = [stand_in(tmp_path, f"adb:{name}", seconds=0.3, mark=f"{n}{name}") for n in range(2) for name in "AB"]
    assert {result.message for result in run(workers, *cells).values()} == {None}
    used = {name: [entry for entry in entries(tmp_path) if entry.cell.endswith(f"@adb:{name}")] for name in "AB"}
    for runs in used.values():
        assert len(runs) == 2
        assert len(nodes_of(runs)) == 1
        assert not [pair for pair in combinations(runs, 2) if pair[0].overlaps(pair[1])]
    assert nodes_of(used["A"]) != nodes_of(used["B"])


@pytest.mark.thorough(twin="sweeping/test_schedule.py::test_what_measures_time_on_this_machine_has_it_for_itself")
def test_what_measures_time_on_a_machine_has_it_for_itself(workers: RayWorkers, tmp_path: Path) -> None:
    """Even where somebody else uses the cluster."""
    (tmp_path / "others").mkdir()
    timed = [stand_in(tmp_path, "host", seconds=0.4, mark=f"{n}") for n in range(3)]
    untimed = [stand_in(tmp_path, seconds=0.4, mark=f"untimed{n}") for n in range(2)]
    others = ray.remote(num_cpus=1)(lambda job: Child(job, {}).result())
    foreign = [others.remote(job_of(stand_in(tmp_path / "others", seconds=0.3, mark=f"{n}"))) for n in range(6)]
    jobs = [job_of(cell) for cell in (*timed, *untimed)]
    results = list(run_jobs(jobs, workers, allow_contention=False, watch=lambda event: None))
    ray.get(foreign)
    assert [result.message for result in results] == [None] * 5
    own, runs = entries(tmp_path), entries(tmp_path) + entries(tmp_path / "others")
    measured = [entry for entry in own if entry.cell.endswith("@host")]
    assert len(measured) == 3
    assert len(nodes_of(measured)) == 2
    assert len(runs) == 11
    for one in measured:
        assert not [other for other in runs if other != one and other.node == one.node and one.overlaps(other)]


def test_contention_is_allowed_where_people_ask_for_it(workers: RayWorkers, tmp_path: Path) -> None:
    cells = [stand_in(tmp_path, "host", meet=2, mark=f"{n}") for n in range(4)]
    run(workers, *cells, allow_contention=True)
    assert [
        pair
        for pair in combinations(entries(tmp_path), 2)
        if pair[0].node == pair[1].node and pair[0].overlaps(pair[1])
    ]


def test_cells_of_a_killed_worker_get_a_second_chance(workers: RayWorkers, tmp_path: Path) -> None:
    once = stand_in(tmp_path, end="kill_waiting*1", mark="once")
    always = stand_in(tmp_path, end="kill_waiting", mark="always")
    fine = stand_in(tmp_path, mark="fine")
    results = run(workers, once, always, fine)
    assert results[once.name].message is None
    assert results[fine.name].message is None
    lost = results[always.name]
    assert (lost.status, lost.exit_code, lost.code) == ("error", 1, "worker_lost")
    runs = entries(tmp_path)
    assert len([entry for entry in runs if entry.cell == once.name]) == 2
    killed = [entry for entry in runs if entry.cell == always.name]
    assert len(killed) == ATTEMPTS
    eventually(lambda: all(entry.interrupted for entry in entries(tmp_path) if entry.cell == always.name))


def test_a_device_that_no_node_offers_is_said_at_once(workers: RayWorkers, tmp_path: Path) -> None:
    absent, fine = stand_in(tmp_path, "adb:ABSENT"), stand_in(tmp_path, "adb:A")
    browser = stand_in(tmp_path, "browser")
    results = run(workers, absent, browser, fine)
    for cell in (absent, browser):
        result = results[cell.name]
        assert (result.status, result.exit_code, result.code) == ("error", 6, "no_such_device")
        assert result.message == f"No machine of the cluster provides {cell.device}."
        assert result.hint is not None
        assert f"--resources='{{\"device:{cell.device}\": 1}}'" in result.hint
    assert results[fine.name].message is None
    assert [entry.cell for entry in entries(tmp_path)] == [fine.name]


@pytest.mark.thorough(twin="test_a_device_that_no_node_offers_is_said_at_once")
def test_devices_that_go_away_are_errors_and_no_wait(cluster: Cluster, workers: RayWorkers, tmp_path: Path) -> None:
    """Neither the cell that runs on one nor the one that waits for its machine's only CPU."""
    node = cluster.add_node(num_cpus=1, resources={"device:adb:C": 1, "device:adb:D": 1}, **STORE)
    workers.wait()
    jobs = [job_of(stand_in(tmp_path, f"adb:{name}", seconds=60)) for name in "CD"]
    assert [workers.refusal(job) for job in jobs] == [None, None]
    assert [workers.start(job, alone=False) for job in jobs] == [True, True]
    eventually(lambda: entries(tmp_path))
    cluster.remove_node(node, allow_graceful=False)
    ended: list[tuple[Job, CellResult]] = []
    eventually(lambda: ended.extend(workers.wait()) or len(ended) == 2)
    assert {job for job, _ in ended} == set(jobs)
    assert {result.status for _, result in ended} == {"error"}
    assert len(entries(tmp_path)) == 1
    refused = [workers.refusal(job) for job in jobs]
    assert [each and each.code for each in refused] == ["no_such_device"] * 2


@pytest.mark.parametrize(
    "ending", [thorough("workers.close()", id="closed"), pytest.param("os.kill(os.getpid(), 9)", id="killed")]
)
def test_nothing_of_a_sweep_that_ends_goes_on(cluster: Cluster, tmp_path: Path, ending: str) -> None:
    program = f"""if True:
        import sys
        from tests.sweeping.test_cluster import *
        before = signal.getsignal(signal.SIGTERM)
        workers = RayWorkers(sys.argv[1])
        assert signal.getsignal(signal.SIGTERM) is before
        workers.start(job_of(stand_in(Path(sys.argv[2]), seconds=60)), alone=False)
        eventually(lambda: entries(Path(sys.argv[2])))
        {ending}
    """
    ended = subprocess.run([sys.executable, "-c", program, cluster.address, tmp_path], check=False, timeout=PATIENCE_S)
    assert ended.returncode == (0 if "close" in ending else -signal.SIGKILL)
    eventually(lambda: entries(tmp_path)[0].interrupted)


@pytest.mark.thorough(twin="test_work_spreads_over_all_nodes")
def test_a_real_sweep(cluster: Cluster, tmp_path: Path) -> None:
    plan = tmp_path / "sweep.toml"
    model = f'[[models]]\nname = "{SMALL}"\nrandom_weights = true\n'
    plan.write_text(f'targets = ["onnx"]\ndevices = ["host", "adb:ABSENT"]\n{model}')
    command = [sys.executable, "-m", "mobilevit_tools", "sweep", plan, "--output", tmp_path / "sweep", "--json"]
    command += ["--engine", "ray", "--address", cluster.address]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 6, ran.stdout + ran.stderr
    measured, absent = json.loads(ran.stdout)["result"]["rows"]
    assert (measured["status"], measured["message"]) == ("passed", None)
    assert measured["low_ms"] <= measured["p50_ms"] <= measured["high_ms"]
    assert (absent["status"], absent["code"]) == ("error", "no_such_device")
    assert [line.partition(",")[0] for line in ran.stderr.splitlines()] == [
        f"[1/2] {SMALL}/onnx/fp32@adb:ABSENT: error",
        f"[2/2] {SMALL}/onnx/fp32@host: passed",
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "auto"])
def test_addresses_at_which_nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str) -> None:
    """Such as that of a cluster that was killed, which Ray still takes for the current one."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(DeviceError, match=r"Nothing answers at 127\.0\.0\.1:9: Connection refused"):
        RayWorkers(address)
    assert time.monotonic() - started < 30


def test_a_machine_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def find_none(**options: object) -> None:
        raise ConnectionError("Could not find any running Ray instance. Please specify the one to connect to.")

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray, "init", find_none)
    with pytest.raises(DeviceError, match="The Ray cluster at auto cannot be used: Could not find any running Ray"):
        RayWorkers("auto")


@pytest.mark.parametrize("address", ["nonsense", "local", "host:", "host:port", ":6379", "host:99999"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a Ray cluster"):
        RayWorkers(address)


@pytest.mark.parametrize(
    ("missing", "address", "hint"),
    [("ray", "auto", "pip install 'mobilevit-tools[ray]'"), ("grpc", "ray://host:10001", "pip install 'ray[client]'")],
)
def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, missing: str, address: str, hint: str) -> None:
    found = {True: None, False: object()}
    monkeypatch.setattr("mobilevit_tools.sweeping.cluster.find_spec", lambda name: found[name == missing])
    with pytest.raises(MissingDependencyError) as caught:
        RayWorkers(address)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)
