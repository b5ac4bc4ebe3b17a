from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.sweeping.job import Job
from mobilevit_tools.sweeping.ledger import MAX_LINE_BYTES, RESULTS, Ledger, open_ledger

FIRST, SECOND, THIRD = (
    Job(Cell(name, "onnx", random_weights=True), name * 8, None, 1.0).error("crashed", f"{name} broke.")
    for name in "abc"
)


def write(folder: Path, *results: CellResult) -> Path:
    with open_ledger(folder) as ledger:
        for result in results:
            ledger.append(result)
    return folder / RESULTS


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "sweep"
    path = write(folder, FIRST, SECOND)
    assert [json.loads(line)["digest"] for line in path.read_text().splitlines()] == [FIRST.digest, SECOND.digest]
    with open_ledger(folder) as ledger:
        assert ledger.results == {FIRST.digest: FIRST, SECOND.digest: SECOND}
        assert ledger.torn is None
        assert ledger.path == path


def test_the_last_result_of_a_cell_counts_and_none_is_lost(tmp_path: Path) -> None:
    later = replace(FIRST, status="passed", exit_code=0, code=None, message=None)
    path = write(tmp_path, FIRST, SECOND, later)
    before = path.read_bytes()
    with open_ledger(tmp_path) as ledger:
        assert ledger.results[FIRST.digest] == later
    assert path.read_bytes() == before
    assert before.count(b"\n") == 3


def test_a_result_is_on_disk_before_the_next_cell_ends(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        ledger.append(FIRST)
        assert json.loads((tmp_path / RESULTS).read_bytes())["digest"] == FIRST.digest


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_line_that_a_kill_cut_off_is_named_and_removed(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path, FIRST, SECOND)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:kept])
    with open_ledger(tmp_path) as ledger:
        assert ledger.torn == f"Line 2 of {path} is truncated; its cell runs again."
        assert ledger.results == {FIRST.digest: FIRST}
        ledger.append(THIRD)
    with open_ledger(tmp_path) as ledger:
        assert ledger.torn is None
        assert list(ledger.results) == [FIRST.digest, THIRD.digest]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{not json}\n", "Line 2 of .* is not JSON."),
        (b"[" * 200_000 + b"\n", "Line 2 of .* is not JSON."),
        (b" " * MAX_LINE_BYTES + b"\n", "Line 2 of .* is too long."),
        (b"\xff\xff\n", "Line 2 of .* is not JSON."),
        (b'{"cell": 1}\n', "Line 2 of .* is not the result of a cell: cell: "),
    ],
)
def test_a_spoilt_line_in_the_middle_is_refused_and_left_alone(tmp_path: Path, line: bytes, said: str) -> None:
    path = write(tmp_path, FIRST, SECOND)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + line + lines[1])
    before = path.read_bytes()
    with pytest.raises(BadInputError, match=said), open_ledger(tmp_path):
        pass
    assert path.read_bytes() == before


def test_a_folder_has_one_sweep_at_a_time(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from mobilevit_tools.sweeping.ledger import open_ledger\n"
    program += "with open_ledger(Path(sys.argv[1])): print('mine', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(UsageError, match="Another sweep is writing"), open_ledger(tmp_path):
            pass
        with open_ledger(tmp_path / "another"):
            pass
        other.kill()
    with open_ledger(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInputError, match="cannot be written to"), open_ledger(folder):
            pass
    (tmp_path / "sweep" / RESULTS).mkdir(parents=True)
    with pytest.raises(BadInputError, match="cannot be written to"), open_ledger(tmp_path / "sweep"):
        pass


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, FIRST)
    said = "cannot be written to: No space left on device"
    with Path("/dev/full").open("ab", buffering=0) as full, pytest.raises(BadInputError, match=said):
        Ledger(path, full).append(SECOND)
