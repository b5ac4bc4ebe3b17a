"""What others wrote is printed as they wrote it: rich takes text in brackets or colons for its own markup."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mobilevit_tools.api.bench import BenchResult, RewriteGain
from mobilevit_tools.cli import bench_tables, profile
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.profiling.statistics import Comparison
from tests.cli.conftest import Ran
from tests.reporting.conftest import profile as measured

Mvt = Callable[..., Ran]
IN_BRACKETS = pytest.mark.parametrize("text", ["[/b]", "[v2]"])
MARKUP = pytest.mark.parametrize("text", ["[/b]", "[v2]", ":cat:"])

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module(TEXT, torch.nn.Linear(3, 3))

    def forward(self, x):
        return getattr(self, TEXT)(x[:, :, 0, 0].cumsum(1))


def build():
    return Net(), {"input_size": (32, 32), "title": TEXT + "1", "paper": TEXT + "2", "license": TEXT + "3"}
"""


@MARKUP
def test_inspect(mvt: Mvt, exported: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(exported / "onnx-fp32", tmp_path / text)
    manifest = tmp_path / text / "manifest.json"
    stored = json.loads(manifest.read_text())
    stored["model"]["name"] = f"{text}1"
    stored["model"]["reconstruction"] = f"{text}2"
    stored["tools"] = {f"{text}3": f"{text}4"}
    manifest.write_text(json.dumps(stored))
    ran = mvt("inspect", tmp_path / text / "model.onnx")
    assert ran.code == 0, ran.err
    for number in range(1, 5):
        assert f"{text}{number}" in ran.out


@MARKUP
def test_diff(mvt: Mvt, exported: Path, text: str) -> None:
    artifact = exported / "onnx-fp32/model.onnx"
    result = replace(measured(artifact, size_bytes=artifact.stat().st_size, device=f"{text}1"), flags=(f"{text}2",))
    stored = {"schema": 1, "command": "profile", "status": "ok", "result": jsonable(result)}
    Path("run.json").write_text(json.dumps(stored))
    ran = mvt("diff", artifact, artifact, "--profiles", "run.json", "run.json")
    assert ran.code == 0, ran.err
    assert f"{text}1" in ran.out
    assert f"Flags: {text}2." in ran.out


@MARKUP
def test_info(mvt: Mvt, text: str) -> None:
    Path("net.py").write_text(f"TEXT = {text!r}\n{NET}")
    ran = mvt("info", "net.py:build")
    assert ran.code == 0, ran.err
    for number in ("1", "2", "3", " "):
        assert f"{text}{number}" in ran.out


@IN_BRACKETS
def test_measurements(capsys: pytest.CaptureFixture[str], text: str) -> None:
    result = replace(measured("model.onnx"), flags=(f"{text}1",), published_ms={f"{text}2": 1.0})
    profile.render(Console(width=200), result)
    out = capsys.readouterr().out
    assert f"flag: {text}1" in out
    assert f"1.0 ms on {text}2" in out

    comparison = ComparisonResult(result, result, Comparison("no difference", 1.0, (1.0, 1.0), 1))
    gain = RewriteGain(f"{text}3", "onnx", "host", 1, "all rewrites", comparison)
    bench_tables.render_rewrites(Console(width=200), BenchResult((gain,)))
    out = capsys.readouterr().out
    assert f"{text}1" in out
    assert f"{text}3" in out
