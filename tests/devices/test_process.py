from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobilevit_tools.devices import process


def test_the_end_of_a_program_is_told_in_full() -> None:
    done = process.run(["sh", "-c", "echo out; echo one >&2; echo two >&2; echo >&2; exit 3"], timeout_s=20)
    assert (done.code, done.stdout, done.last_words) == (3, "out\n", "two")


def test_the_time_limit_ends_the_programs_children_too(tmp_path: Path) -> None:
    start = time.monotonic()
    done = process.run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"], timeout_s=0.5)
    assert done.code is None
    assert time.monotonic() - start < 20
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child still runs")


def test_what_a_program_and_its_children_have_taken() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    program = f"{sys.executable} -c '{burn}'; {sys.executable} -c '{burn}\ntime.sleep(60)' & echo; wait"
    with subprocess.Popen(["sh", "-c", program], stdout=subprocess.PIPE, start_new_session=True) as running:
        try:
            deadline = time.monotonic() + 30
            while (process.session_seconds(running.pid) or 0.0) < 0.9 and time.monotonic() < deadline:
                time.sleep(0.05)
            # one child that has ended, one that is there; and nothing of this process
            assert 0.9 <= (process.session_seconds(running.pid) or 0.0) < 2.0
        finally:
            process.kill_group(running)


def test_where_there_is_no_proc_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_PROC", tmp_path / "absent")
    assert process.session_seconds(1) is None


def test_a_pipe_that_somebody_else_keeps_open_is_not_waited_for() -> None:
    start = time.monotonic()
    done = process.run(["sh", "-c", "echo out; setsid sleep 15 & wait"], timeout_s=0.5)
    assert (done.code, done.stdout) == (None, "out\n")
    assert time.monotonic() - start < 10


def test_a_program_with_groups_of_its_own_may_end_them_first(tmp_path: Path) -> None:
    program = f"trap 'echo stopped; touch {tmp_path}/ended; exit 7' TERM; echo out; while :; do sleep 0.05; done"
    done = process.run(["sh", "-c", program], timeout_s=1.0, grace_s=20.0)
    assert (done.code, done.stdout) == (None, "out\nstopped\n")
    assert (tmp_path / "ended").exists()


def test_a_program_that_ignores_the_request_is_killed_after_its_grace() -> None:
    start = time.monotonic()
    done = process.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], timeout_s=0.5, grace_s=1.0)
    assert done.code is None
    assert 1.5 <= time.monotonic() - start < 20
