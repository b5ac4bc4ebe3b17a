"""Exports are measured in turns, children included; stand-ins for interpreters burn what they are told to."""

from __future__ import annotations

import json
import sys
from io import StringIO
from operator import truediv
from pathlib import Path
from statistics import median

import pytest
from rich.console import Console

from mobilevit_tools.api import export_bench
from mobilevit_tools.api.export_bench import ExportBench, ExportCost, _cost, bench_export
from mobilevit_tools.cli.app import run
from mobilevit_tools.cli.bench_tables import render_export
from mobilevit_tools.errors import BadInputError, UsageError

BURN = "import time\nwhile time.process_time() < {seconds}: pass"
STAND_IN = """#!/bin/sh
echo "$(basename "$0") PYTHONPATH=$PYTHONPATH $*" >> "{log}"
case "$*" in *importlib.metadata*) echo 0.0.9; exit 0;; esac
"{python}" -S -c '{burn}' < /dev/null
exit {code}
"""


def stand_in(folder: Path, name: str, seconds: float, code: int = 0) -> Path:
    path = folder / name
    burn = BURN.format(seconds=seconds)
    path.write_text(STAND_IN.format(log=folder / "log", python=sys.executable, burn=burn, code=code))
    path.chmod(0o755)
    return path


def test_in_turns_with_children_and_without_the_first_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = stand_in(tmp_path, "ours", 0.1), stand_in(tmp_path, "other", 0.3)
    monkeypatch.setattr(export_bench.sys, "executable", str(ours))
    monkeypatch.setenv("PYTHONPATH", "mine")
    asked = ("care_s0", "care_s0.imagenette", "-t", "onnx", "--against", str(other), "--rounds", "2")
    assert run(["bench", "export", *asked, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    first, _ = result["costs"]
    assert (first["model"], first["target"], result["against"]) == ("care_s0", "onnx", "0.0.9")
    assert all(0.1 <= seconds < 0.2 for seconds in first["seconds"])
    assert all(0.3 <= seconds < 0.5 for seconds in first["against"])
    assert len(first["seconds"]) == len(first["against"]) == 2
    assert 0.2 < first["ratio"] < 0.6
    assert first["interval"] is None  # two rounds are too few for one
    _, *lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["ours", "other"] * 6
    assert [line.split()[1] for line in lines[:2]] == ["PYTHONPATH=mine", "PYTHONPATH="]
    assert ["--random-weights" in line for line in lines] == [True] * 6 + [False] * 6


def test_all_targets_at_once_are_compared_with_the_slowest_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ours"
    naps = "case $* in *onnx*coreml*) nap=0.3;; *onnx*) nap=0.05;; *) nap=0.2;; esac"
    ours.write_text(f'#!/bin/sh\necho "$*" >> "{tmp_path / "log"}"\n{naps}\nsleep $nap\n')
    ours.chmod(0o755)
    monkeypatch.setattr(export_bench.sys, "executable", str(ours))
    result = bench_export("care_s0", targets=["onnx", "coreml"], together=True, rounds=2)
    (together,) = result.together
    assert (together.model, together.slowest, together.interval) == ("care_s0", "coreml", None)
    assert len(together.seconds) == len(together.alone) == 2
    assert all(seconds >= 0.3 for seconds in together.seconds)
    assert all(seconds >= 0.2 for seconds in together.alone)
    assert together.ratio == median(map(truediv, together.seconds, together.alone))
    rounds = [line.count("--target=") for line in (tmp_path / "log").read_text().splitlines()]
    assert rounds == [1, 1, 2] * 3
    console = Console(file=StringIO(), width=300)
    render_export(console, result)
    assert "| care_s0 | coreml |" in " ".join(console.file.getvalue().split())


def test_one_target_has_nothing_to_be_exported_with() -> None:
    with pytest.raises(UsageError, match="nothing to be exported with"):
        bench_export("care_s0", targets="onnx", together=True)


def test_an_installation_may_be_compared_with_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    itself = stand_in(tmp_path, "ours", 0.0)
    monkeypatch.setattr(export_bench.sys, "executable", str(itself))
    bench_export(["care_s0"], targets=["onnx"], against=itself, rounds=1)
    _, *lines = (tmp_path / "log").read_text().splitlines()
    folders = [line.split("--output ")[1].split()[0] for line in lines]
    assert len(set(folders)) == len(folders) == 4


def test_the_ratio_is_the_rounds_median_with_an_interval() -> None:
    cost = _cost("m", "onnx", [(1.0, 2.0, 1.0, 4.0, 1.0, 1.5), (2.0, 2.0, 2.0, 2.0, 2.0, 2.0)])
    assert cost.ratio == 0.625
    assert cost.interval == (0.5, 2.0)


@pytest.mark.parametrize(
    ("cost", "against", "row"),
    [
        (ExportCost("m", "onnx", (1.0, 3.0)), None, "| m | onnx | 2.00 | - |"),
        (ExportCost("m", "onnx", (1.0,), (2.0,), 0.5), "0.0.9", "| m | onnx | 1.00 | 2.00 | 0.500 (too few rounds) |"),
        (
            ExportCost("m", "onnx", (1.0,), (2.0,), 0.5, (0.4, 0.6)),
            "0.0.9",
            "| m | onnx | 1.00 | 2.00 | 0.500 (0.400 to 0.600) |",
        ),
    ],
)
def test_the_table(cost: ExportCost, against: str | None, row: str) -> None:
    console = Console(file=StringIO(), width=300)
    render_export(console, ExportBench((cost,), "0.1.0", against, {}))
    assert row in [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_failed_export_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_bench.sys, "executable", str(stand_in(tmp_path, "broken", 0.0, code=3)))
    with pytest.raises(BadInputError, match="broken cannot export care_s0 to onnx: exit status 3"):
        bench_export(["care_s0"], targets=["onnx"])


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(export_bench.sys, "executable", str(hanging))
    with pytest.raises(BadInputError, match="exit status -9"):
        bench_export(["care_s0"], targets=["onnx"], timeout_s=0.2)


@pytest.mark.parametrize("models", [[], ["care_s0"]])
def test_nothing_to_compare_with_is_refused(models: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        bench_export(models, targets=["onnx"], against=tmp_path / "none")
