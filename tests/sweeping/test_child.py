from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.sweeping.child import Child
from mobilevit_tools.sweeping.job import Job
from tests.found import exported
from tests.sweeping.stand_in import PATIENCE_S, RUNNER, entries, eventually, parent_of, stand_in


def job(cell: Cell, folder: Path | None = None) -> Job:
    return Job(cell, cell.digest(), folder, 60.0, RUNNER)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_a_result_comes_back_from_another_process(tmp_path: Path) -> None:
    result = Child(job(stand_in(tmp_path)), {}).result()
    assert result.status == "passed"
    assert result.cell == stand_in(tmp_path)
    (entry,) = entries(tmp_path)
    assert entry.pid != os.getpid()


def test_the_folder_of_an_artifact_that_nobody_keeps_goes_away(tmp_path: Path) -> None:
    result = Child(job(stand_in(tmp_path)), {"TMPDIR": str(tmp_path)}).result()
    assert result.artifact == exported(path=Path("out/made"), kept=False, size_bytes=7)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_an_artifact_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "half").write_text("of an attempt that was killed")
    result = Child(job(stand_in(tmp_path), folder), {}).result()
    assert result.artifact == exported(path=folder / "made", size_bytes=7)
    assert [path.name for path in folder.iterdir()] == ["made"]


def test_a_folder_that_this_machine_does_not_have(tmp_path: Path) -> None:
    result = Child(job(stand_in(tmp_path), tmp_path / "elsewhere" / "kept"), {}).result()
    assert (result.status, result.exit_code, result.code) == ("error", 3, "no_folder")
    assert entries(tmp_path) == []


def test_a_process_that_dies_is_an_error_of_its_cell(tmp_path: Path) -> None:
    crashed = Child(job(stand_in(tmp_path, end="crash")), {}).result()
    assert (crashed.status, crashed.exit_code, crashed.code) == ("error", -signal.SIGKILL, "crashed")
    raised = Child(job(stand_in(tmp_path, end="raise")), {}).result()
    assert (raised.status, raised.exit_code, raised.code) == ("error", 1, "crashed")
    assert raised.message == "The cell's process ended with code 1: OSError: there is no room left."


def test_a_cell_whose_inputs_changed_meanwhile_is_no_result(tmp_path: Path) -> None:
    result = Child(replace(job(stand_in(tmp_path)), digest="0" * 64), {}).result()
    assert (result.status, result.exit_code, result.code, result.digest) == ("error", 3, "changed", "0" * 64)


def test_letting_go_interrupts_the_cell(tmp_path: Path) -> None:
    child = Child(job(stand_in(tmp_path, seconds=60)), {})
    waiting = threading.Thread(target=child.result)
    waiting.start()
    eventually(lambda: entries(tmp_path))
    child.stop()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    (entry,) = entries(tmp_path)
    assert entry.interrupted
    assert is_gone(entry.pid)


@pytest.mark.parametrize("deafness", ["signal.signal(2, signal.SIG_IGN)", "signal.pthread_sigmask(0, [2])"])
def test_nothing_outlives_whoever_waits_for_it(tmp_path: Path, deafness: str) -> None:
    """Not even where that process is killed, so that it can tell nobody, and had Ctrl-C ignored or blocked."""
    program = f"import sys; from tests.sweeping.test_child import *; {deafness}\n"
    program += "Child(job(stand_in(Path(sys.argv[1]), seconds=60)), {}).result()"
    waiting = subprocess.Popen([sys.executable, "-c", program, tmp_path])
    eventually(lambda: entries(tmp_path))
    (entry,) = entries(tmp_path)
    assert not is_gone(entry.pid)
    waiting.kill()
    waiting.wait()
    eventually(lambda: is_gone(entry.pid))
    assert entries(tmp_path)[0].interrupted


def test_a_cell_ends_by_itself_where_ray_kills_what_it_started(tmp_path: Path) -> None:
    """A worker that is told to stop kills its own children first, and only those."""
    child = Child(job(stand_in(tmp_path, seconds=60)), {})
    waiting = threading.Thread(target=child.result)
    waiting.start()
    eventually(lambda: entries(tmp_path))
    (entry,) = entries(tmp_path)
    os.kill(parent_of(entry.pid), signal.SIGKILL)
    child.stop()
    eventually(lambda: entries(tmp_path)[0].interrupted)
    waiting.join(PATIENCE_S)
