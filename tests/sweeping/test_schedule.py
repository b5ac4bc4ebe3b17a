"""The schedule, with real processes that write down when they ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path

import pytest

from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.sweeping.job import Job
from mobilevit_tools.sweeping.local import LocalWorkers, default_jobs
from mobilevit_tools.sweeping.schedule import ATTEMPTS, Event, run_jobs
from tests.sweeping.stand_in import RUNNER, Entry, entries, eventually, stand_in


def jobs_of(*cells: Cell) -> list[Job]:
    return [Job(cell, cell.digest(), None, 60.0, RUNNER) for cell in cells]


def run(*cells: Cell, side_by_side: int = 3, allow_contention: bool = False) -> tuple[list[CellResult], list[Event]]:
    events: list[Event] = []
    with closing(LocalWorkers(side_by_side)) as workers:
        found = run_jobs(jobs_of(*cells), workers, allow_contention=allow_contention, watch=events.append)
        return list(found), events


def overlapping(runs: list[Entry]) -> Iterator[tuple[Entry, Entry]]:
    return ((one, other) for one, other in combinations(runs, 2) if one.overlaps(other))


def test_exports_run_side_by_side_but_never_more_than_asked_for(tmp_path: Path) -> None:
    cells = [stand_in(tmp_path, device, meet=2, mark=f"{n}") for n, device in enumerate([None, "count"] * 2)]
    results, _ = run(*cells, side_by_side=2)
    assert [result.status for result in results] == ["passed"] * 4
    runs = entries(tmp_path)
    assert len(list(overlapping(runs))) >= 2
    for one in runs:
        assert sum(other.start <= one.start < (other.end or 0) for other in runs) <= 2


def test_what_measures_time_on_this_machine_has_it_for_itself(tmp_path: Path) -> None:
    devices = ("host", None, "browser", "adb:X", "ssh:me@localhost", "count")
    cells = [stand_in(tmp_path, device, seconds=0.2, mark=f"{n}") for n, device in enumerate(devices)]
    results, events = run(*cells)
    assert len(results) == len(devices)
    timed = ("@host", "@browser", "@ssh:me@localhost")
    runs = entries(tmp_path)
    for one, other in overlapping(runs):
        assert not one.cell.endswith(timed)
        assert not other.cell.endswith(timed)
    assert [run.cell.endswith(timed) for run in runs] == [False] * 3 + [True] * 3
    assert Counter(event.kind for event in events) == {"started": 6, "finished": 6}


def test_contention_is_allowed_where_people_ask_for_it(tmp_path: Path) -> None:
    cells = [stand_in(tmp_path, "host", meet=2, mark=f"{n}") for n in range(2)]
    run(*cells, allow_contention=True)
    assert list(overlapping(entries(tmp_path)))


@pytest.mark.parametrize("allow_contention", [False, True])
def test_a_device_runs_one_cell_at_a_time(tmp_path: Path, allow_contention: bool) -> None:
    devices = ("adb:X", "adb:X", "adb:Y", "adb:emulator-5554", "adb:emulator-5554")
    cells = [
        stand_in(tmp_path, device, seconds=0.4, meet=2 if n in {0, 2} else 1, mark=f"{n}")
        for n, device in enumerate(devices)
    ]
    run(*cells, side_by_side=5, allow_contention=allow_contention)
    runs = entries(tmp_path)
    assert len(runs) == len(devices)
    together = {tuple(sorted(run.cell.partition("@")[2] for run in pair)) for pair in overlapping(runs)}
    assert ("adb:X", "adb:Y") in together
    assert not {pair for pair in together if len(set(pair)) == 1}


@pytest.mark.parametrize(
    ("end", "attempts", "status", "exit_code"),
    [
        ("crash*1", 2, "passed", 0),
        ("crash", ATTEMPTS, "error", -9),
        ("device", ATTEMPTS, "error", 6),
        ("failed", 1, "failed", 4),
        ("bad_input", 1, "error", 3),
    ],
)
def test_faults_get_a_second_chance_and_verdicts_do_not(
    tmp_path: Path, end: str, attempts: int, status: str, exit_code: int
) -> None:
    (result,), events = run(stand_in(tmp_path, end=end))
    assert (result.status, result.exit_code) == (status, exit_code)
    assert len(entries(tmp_path)) == attempts
    assert [event.kind for event in events] == [*["started", "again"] * (attempts - 1), "started", "finished"]


def test_a_fault_stops_no_other_cell(tmp_path: Path) -> None:
    results, _ = run(*(stand_in(tmp_path, end=end, mark=end) for end in ("crash", "passed", "raise", "failed")))
    assert {result.cell.model: result.status for result in results} == {
        "modelcrash": "error",
        "modelpassed": "passed",
        "modelraise": "error",
        "modelfailed": "failed",
    }


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    events: list[Event] = []
    with closing(LocalWorkers(2)) as workers:
        cells = (stand_in(tmp_path, mark="first"), stand_in(tmp_path, seconds=60, mark="second"))
        for result in run_jobs(jobs_of(*cells), workers, allow_contention=False, watch=events.append):
            assert result.cell.model == "modelfirst"
            eventually(lambda: len(entries(tmp_path)) == 2)
            break
    assert [entry.interrupted for entry in entries(tmp_path) if entry.cell.startswith("modelsecond")] == [True]


def test_cells_side_by_side_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_jobs() >= 1
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert default_jobs() == 4
    shared: list[str | None] = []

    class Watched:
        def __init__(self, job: Job, environment: dict[str, str]) -> None:
            shared.append(environment.get("OMP_NUM_THREADS"))
            self.result = lambda: job.error("crashed", "It broke.")

        def stop(self) -> None:
            pass

    monkeypatch.setattr("mobilevit_tools.sweeping.local.Child", Watched)
    with closing(LocalWorkers(4)) as workers:
        beside, alone = jobs_of(stand_in(tmp_path), stand_in(tmp_path, "host"))
        assert workers.start(beside, alone=False)
        workers.wait()
        assert workers.start(alone, alone=True)
    assert shared == ["2", None]
