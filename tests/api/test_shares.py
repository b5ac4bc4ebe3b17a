"""Which targets convert in which process, and how many processes a machine has the means for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobilevit_tools.api import shares
from mobilevit_tools.api.shares import GROWTH, NEAR_ENOUGH, STARTING, Machine, shared_out
from mobilevit_tools.targets.registry import STANDARD, TARGETS

SLOWEST = max(STANDARD, key=lambda name: TARGETS[name].effort)
MIB = 1 << 20


def test_the_slowest_target_has_a_process_of_its_own_and_the_others_share_one() -> None:
    own, other = shared_out(STANDARD, 2)
    assert [STANDARD[index] for index in own] == [SLOWEST]
    assert sorted((*own, *other)) == list(range(len(STANDARD)))
    longest = STARTING + max(sum(TARGETS[STANDARD[index]].effort for index in share) for share in (own, other))
    assert longest <= NEAR_ENOUGH * (STARTING + TARGETS[SLOWEST].effort)


@pytest.mark.parametrize(
    ("targets", "processes", "expected"),
    [
        (STANDARD, 1, (tuple(range(len(STANDARD))),)),
        (STANDARD, 8, shared_out(STANDARD, 2)),  # a third would end hardly sooner
        (("onnx", "coreml"), 8, ((0,), (1,))),
        (("onnx",), 8, ((0,),)),
    ],
)
def test_there_are_as_many_processes_as_pay(
    targets: tuple[str, ...], processes: int, expected: tuple[tuple[int, ...], ...]
) -> None:
    assert shared_out(targets, processes) == expected


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a machine with four idle cores and plenty of memory, on which nobody limits this process."""
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable: 999999999 kB\n")
    monkeypatch.setattr(shares, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(shares, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(shares.LoadMeter, "others_cores", lambda *_: 0.0)
    monkeypatch.setattr(shares, "peak_bytes", lambda: 400 * MIB)
    return tmp_path


def test_an_idle_machine(system: Path) -> None:
    assert Machine().processes() == 4


@pytest.mark.parametrize(("others", "expected"), [(0.2, 4), (0.5, 3), (2.9, 1), (4.0, 1)])
def test_cores_that_others_use_are_theirs(
    system: Path, monkeypatch: pytest.MonkeyPatch, others: float, expected: int
) -> None:
    monkeypatch.setattr(shares.LoadMeter, "others_cores", lambda *_: others)
    assert Machine().processes() == expected


def test_its_own_work_is_not_that_of_others(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[float] = []
    monkeypatch.setattr(shares.LoadMeter, "others_cores", lambda _meter, own: said.append(own) or 0.0)
    monkeypatch.setattr(os, "times", iter([(1.0, 2.0, 0.5, 0.5, 9.0), (4.0, 3.0, 1.0, 1.0, 99.0)]).__next__)
    Machine().processes()
    assert said == [5.0]


def test_one_core_is_one_process(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares.sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3}, raising=False)
    assert Machine().processes() == 1


@pytest.mark.parametrize(("quota", "expected"), [("150000 100000", 1), ("200000 100000", 2), ("max 100000", 4)])
def test_a_containers_quota_holds(system: Path, quota: str, expected: int) -> None:
    (system / "cpu.max").write_text(f"{quota}\n")
    assert Machine().processes() == expected


@pytest.mark.parametrize(("loaded", "expected"), [(0.2, 4), (0.4, 3), (3.6, 1)])
def test_a_system_that_does_not_say_who_is_busy_has_a_load(
    system: Path, monkeypatch: pytest.MonkeyPatch, loaded: float, expected: int
) -> None:
    monkeypatch.setattr(shares.LoadMeter, "others_cores", lambda *_: None)
    monkeypatch.setattr(shares, "load_average", lambda: loaded)
    assert Machine().processes() == expected


@pytest.mark.parametrize(
    ("free_mib", "expected"), [(0, 1), (400 * (2 * GROWTH - 1) - 1, 1), (400 * (2 * GROWTH - 1), 2)]
)
def test_each_process_has_memory_to_grow_into(system: Path, free_mib: int, expected: int) -> None:
    (system / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {free_mib * 1024} kB\n")
    assert Machine().processes() == expected


def test_a_containers_memory_is_all_that_there_is(system: Path) -> None:
    (system / "memory.max").write_text(f"{4000 * MIB}\n")
    (system / "memory.current").write_text(f"{3000 * MIB}\n")
    assert Machine().processes() == 1
    (system / "memory.stat").write_text(f"anon 1\ninactive_file {1000 * MIB}\n")
    assert Machine().processes() == 2


def test_what_is_said_of_this_machine_can_be_read() -> None:
    assert 1 <= Machine().processes() <= (os.cpu_count() or 1)
