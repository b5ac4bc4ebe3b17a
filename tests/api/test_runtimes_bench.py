"""Runtimes are compared on one model, each against the reference in turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobilevit_tools.api import runtimes_bench
from mobilevit_tools.api.runtimes_bench import bench_runtimes
from mobilevit_tools.cli.app import run
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.targets._base import Target

NET = """
import torch

CARD = {"input_size": (16, 16)}


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), CARD
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:build"


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Two targets are here, and nothing takes time."""
    found: list[tuple[str, str]] = []

    def compare(a: Path, b: Path, **_: Any) -> ComparisonResult:
        assert a.exists()
        assert b.exists()
        found.append((a.suffix, b.suffix))
        raise BadInputError("no clock")

    missing = Target.missing
    monkeypatch.setattr(Target, "missing", lambda self: ("gone",) if self.extra is not None else missing(self))
    monkeypatch.setattr(runtimes_bench, "compare", compare)
    return found


def test_every_runtime_is_measured_against_the_reference(
    net: str, pairs: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["-t", "executorch", "-t", "ncnn", "-t", "coreml"]
    assert run(["bench", "runtimes", net, *asked, "--reference", "onnx", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert [row["deployment"] for row in result["rows"]] == ["onnx", "executorch-xnnpack", "coreml"]
    assert all(row["artifact"]["parity"]["status"] == "passed" for row in result["rows"])
    assert result["rows"][1]["artifact"]["delegation"]["calls"] == 1
    assert pairs == [(".onnx", ".pte"), (".onnx", ".mlpackage")]
    assert [row["reason"] for row in result["rows"]] == [None, "no clock", "no clock"]
    assert [row["is_reference"] for row in result["rows"]] == [True, False, False]
    assert result["missing"] == {"ncnn": "pip install 'mobilevit-tools[ncnn]'"}
    assert {"onnx", "executorch"} <= result["tools"].keys()


def test_the_table(net: str, pairs: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "runtimes", net, "-t", "litert"]) == 0
    said = capsys.readouterr().out
    assert "time of onnx's (95 %)" in said
    assert "litert is not installed: pip install 'mobilevit-tools[litert]'" in said
    assert pairs == []


def test_a_runtime_that_has_no_latency_is_no_reference(net: str) -> None:
    with pytest.raises(UsageError, match="coreml has no latency on this host"):
        bench_runtimes([net], reference="coreml")
