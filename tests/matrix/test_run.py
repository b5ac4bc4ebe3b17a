from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import pytest

from mobilevit_tools.devices.process import Finished
from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.matrix.run import run_cell
from tests.matrix import nets

PATIENCE_S = 300.0


@pytest.fixture
def net(tmp_path: Path) -> str:
    """The path of the user's own models, in a folder of its own."""
    file = tmp_path / "models" / "net.py"
    file.parent.mkdir()
    file.write_text(Path(nets.__file__).read_text())
    return str(file)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_gate_that_fails_keeps_the_figures(net: str, tmp_path: Path) -> None:
    cell = Cell(f"{net}:two_faced", "onnx", random_weights=True, device="count")
    result = run_cell(cell, tmp_path / "out", timeout_s=PATIENCE_S)
    assert (result.status, result.exit_code, result.code) == ("failed", 4, "gate_failed")
    assert result.artifact is not None
    assert result.artifact.parity.snr_db is not None
    assert result.artifact.parity.snr_db < 80
    assert result.artifact.params == 12
    assert not result.artifact.path.exists()
    assert result.digest == cell.digest()
    assert result.profile is None
    assert result.command == shlex.join(["mvt", *cell.commands(Path("out"))[0]])


def test_what_nothing_here_can_run_is_no_pass(net: str, tmp_path: Path) -> None:
    cell = Cell(f"{net}:patches", "executorch", backend="vulkan", random_weights=True)
    result = run_cell(cell, tmp_path / "out", timeout_s=PATIENCE_S)
    assert (result.status, result.exit_code, result.code) == ("not_verified", 0, "not_verified")
    assert result.message == "Not verified: The runtime lacks these operators: delegate:VulkanBackend."
    assert result.command is None


def test_a_crash_fails_its_cell_says_the_signal_and_leaves_nothing_unfinished(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with the mvt command, a module of the working folder does not stand in for the real one.
    tmp_path.joinpath("torch.py").write_text("raise SystemExit('the wrong torch')")
    monkeypatch.chdir(tmp_path)
    unfinished = tmp_path / "out" / "net_crash" / ".onnx-fp32.x1.partial"
    unfinished.mkdir(parents=True)
    result = run_cell(Cell(f"{net}:crash", "onnx", random_weights=True), tmp_path / "out", timeout_s=PATIENCE_S)
    assert (result.status, result.exit_code, result.code) == ("error", -signal.SIGSEGV, "crashed")
    assert result.message == "mvt export was ended by SIGSEGV."
    assert not unfinished.exists()


def test_a_hang_is_ended_and_leaves_nothing(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    pid = Path(net).with_name("pid")
    limit = 10.0
    result = run_cell(Cell(f"{net}:hang", "onnx", random_weights=True), tmp_path / "out", timeout_s=limit)
    assert (result.status, result.exit_code, result.code) == ("error", None, "timed_out")
    assert result.seconds >= limit
    assert not pid.exists() or not is_running(int(pid.read_text()))
    assert list(scratch.iterdir()) == []
    assert not list(tmp_path.glob("out/**/*"))


@pytest.mark.parametrize("printed", ["", "[" * 100_000, "NaN", "[]", '{"a": ' + "9" * 5000 + "}"])
def test_what_is_no_envelope_fails_its_cell_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str
) -> None:
    ended = Finished(0, printed, "")
    monkeypatch.setattr("mobilevit_tools.matrix.run.run", lambda *_, **__: ended)
    result = run_cell(Cell("couplformer_kct2", "onnx", random_weights=True), tmp_path / "out", timeout_s=PATIENCE_S)
    assert (result.status, result.exit_code, result.code) == ("error", 1, "crashed")
