from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Ran
from tests.conftest import SMALL
from tests.matrix import nets

Mvt = Callable[..., Ran]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """The user's own models, in a folder of their own."""
    file = tmp_path / "models" / "net.py"
    file.parent.mkdir()
    file.write_text(Path(nets.__file__).read_text())
    return file


def write_baseline(path: Path, envelope: dict[str, Any], **figures: Any) -> None:
    """Store a run whose first cell had other figures."""
    (cell, *_) = envelope["result"]["cells"]
    cell["artifact"] = {**cell["artifact"], **figures}
    path.write_text(json.dumps({**envelope, "result": {**envelope["result"], "cells": [cell]}}))


@pytest.mark.thorough(
    twin="matrix/test_run.py::test_a_crash_fails_its_cell_says_the_signal_and_leaves_nothing_unfinished"
)
def test_a_matrix_with_a_crash_then_a_baseline(
    mvt: Mvt, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    good, bad = SMALL, f"{net}:crash"
    ran = mvt(
        "smoke", good, bad, "-t", "onnx", "--random-weights", "--junit", "j.xml", "--output", "s.json", "--keep", "k"
    )

    assert ran.code == 1
    assert [line.split(": ")[1].split(",")[0] for line in ran.err.splitlines()[:2]] == ["passed", "error"]
    assert ran.err.startswith(f"[1/2] {good}/onnx/fp32: passed, ")
    assert f"{bad}/onnx/fp32: mvt export was ended by SIGSEGV." in ran.out

    stored = json.loads(Path("s.json").read_text())
    assert (stored["schema"], stored["command"], stored["status"]) == (1, "smoke", "error")
    assert stored["error"]["code"] == "smoke_failed"
    result = stored["result"]
    assert [cell["status"] for cell in result["cells"]] == ["passed", "error"]
    assert (result["passed"], result["failed"], result["errors"], result["exit_code"]) == (1, 0, 1, 1)
    assert Path(result["cells"][0]["artifact"]["path"]).is_file()
    assert Path(result["cells"][0]["artifact"]["path"]).is_relative_to("k")

    cases = ElementTree.parse("j.xml").findall(".//testcase")
    assert [len(case) for case in cases] == [0, 1]
    text = summary.read_text()
    assert text.startswith("before\n## mvt smoke: 1 of 2 cells failed\n")
    assert text.index("**error**") < text.index("passed")

    again = mvt("smoke", good, "-t", "onnx", "--random-weights", "--output", "s.json")
    assert again.code == 2
    assert "--overwrite" in again.err

    artifact = result["cells"][0]["artifact"]
    other = {"size_bytes": artifact["size_bytes"] // 2, "parity": {**artifact["parity"], "snr_db": 180.0}}
    write_baseline(tmp_path / "better.json", stored, **other)
    margins = ("--baseline", tmp_path / "better.json", "--max-size-growth", "150%")
    ran = mvt("smoke", good, "-t", "onnx", "--random-weights", "--json", *margins)
    assert ran.code == 4, ran.out
    assert ran.envelope["error"]["code"] == "smoke_failed"
    report = ran.envelope["result"]["baseline"]
    assert [(each["cell"], each["figure"]) for each in report["regressions"]] == [(f"{good}/onnx/fp32", "parity")]
    (cell,) = ran.envelope["result"]["cells"]
    assert cell["status"] == "passed"
    assert cell["artifact"]["path"] == f"out/{SMALL}/onnx-fp32/model.onnx"
    assert not cell["artifact"]["kept"]
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["care_s0", "-t", "onxx"], 2, "unknown_target"),
        (["care_s0", "-t", "all", "-t", "onxx"], 2, "unknown_target"),
        (["care_s0", "-t", "onnx", "--precision", "palette4"], 2, "unsupported_precision"),
        (["care_s0", "-t", "coreml", "--device", "count"], 2, "no_runner"),
        (["care_s0", "--device", "cuont"], 2, "unknown_device"),
        (["care_s0", "--timeout", "0"], 2, "usage"),
        (["care_s0", "--precision", "fp32", "--precision", "fp16", "--calibration", "nowhere"], 2, "usage"),
        (["care_s0", "--random-weights", "--calibration-size", "20"], 2, "usage"),
        (["care_s0", "--input-size", "big"], 2, "usage"),
        (["care_s0", "care_s1", "--checkpoint", "w.pth"], 2, "usage"),
        (["--random-weights"], 2, "usage"),
        (["care_s0", "--baseline", "nowhere.json"], 3, "bad_baseline"),
        (["--baseline", "nowhere.json", "--max-size-growth", "lots"], 2, "usage"),
        (["--baseline", "nowhere.json", "--max-size-growth", "5"], 2, "usage"),
        (["--baseline", "nowhere.json", "--max-instruction-growth", "2"], 2, "usage"),
        (["--baseline", "nowhere.json", "--max-snr-loss", "nan"], 2, "usage"),
        (["--baseline", "nowhere.json", "--max-snr-loss", "inf"], 2, "usage"),
        (["--", "--overwrite"], 2, "bad_request"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(mvt: Mvt, arguments: list[str], code: int, name: str) -> None:
    ran = mvt("smoke", "--json", *arguments)
    assert (ran.code, ran.envelope["error"]["code"]) == (code, name)
    assert ran.err == ""


@pytest.mark.parametrize(
    "option",
    ["--max-size-growth", "--max-snr-loss", "--max-new-calls", "--max-new-outside", "--max-instruction-growth"],
)
def test_a_margin_on_a_baseline_that_is_not_given_is_refused(mvt: Mvt, option: str) -> None:
    ran = mvt("smoke", "no_such_model", option, "0", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "usage")
    assert option in ran.envelope["error"]["message"]
    assert "--baseline" in ran.envelope["error"]["message"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--baseline", "s.json", "--output", "./s.json"], ("--output", "--baseline")),
        (["--baseline", "s.json", "--output", "link.json"], ("--output", "--baseline")),
        (["--baseline", "s.json", "--junit", "sub/../s.json"], ("--junit", "--baseline")),
        (["--output", "new.json", "--junit", "new.json"], ("--output", "--junit")),
    ],
)
def test_one_file_for_two_purposes_is_refused(mvt: Mvt, options: list[str], named: tuple[str, str]) -> None:
    Path("sub").mkdir()
    Path("s.json").write_text("mine")
    Path("link.json").symlink_to("s.json")
    ran = mvt("smoke", SMALL, "--random-weights", "-t", "onnx", *options, "--overwrite", "--json")
    assert (ran.code, ran.envelope["error"]["code"], ran.err) == (2, "usage", "")
    assert all(option in ran.envelope["error"]["message"] for option in named)
    assert Path("s.json").read_text() == "mine"
    assert not Path("new.json").exists()


def test_a_summary_that_cannot_be_written_is_said_before_anything_runs(
    mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    ran = mvt("smoke", "care_s9", "--json")
    assert (ran.code, ran.envelope["error"]["code"], ran.err) == (3, "output", "")


def test_a_kept_folder_must_be_new(mvt: Mvt) -> None:
    Path("k").mkdir()
    Path("k/mine.txt").write_text("mine")
    ran = mvt("smoke", "care_s0", "--keep", "k", "--overwrite", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "exists")
    assert Path("k/mine.txt").read_text() == "mine"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_stops_the_cell_and_leaves_nothing(net: Path, tmp_path: Path, number: signal.Signals) -> None:
    scratch, desk, pid = tmp_path / "scratch", tmp_path / "desk", net.with_name("pid")
    scratch.mkdir()
    desk.mkdir()
    arguments = [
        "smoke",
        f"{net}:hang",
        "-t",
        "onnx",
        "--random-weights",
        "--keep",
        "k",
        "--output",
        "s.json",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mobilevit_tools", *arguments],
        cwd=desk,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 120
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert json.loads(printed)["error"]["code"] == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert list(scratch.iterdir()) == []
    assert list(desk.iterdir()) == []
