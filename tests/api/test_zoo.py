"""The zoo: every model and target has a row, whatever became of it; the pass rate counts what passed its gates."""

from __future__ import annotations

import json

import pytest

from mobilevit_tools.api import zoo
from mobilevit_tools.cli.app import run
from mobilevit_tools.errors import UsageError
from mobilevit_tools.models.sources.torchvision import make_importable

NAME = "timm:test_vit"


def test_passes_and_refusals_are_rows_and_latency_is_against_the_plain_lowering(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "zoo", NAME, "timm:no_such", "-t", "onnx", "--latency", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    passed, refused = result["rows"]
    assert passed["result"]["status"] == "passed"
    assert passed["result"]["artifact"]["parity"]["snr_db"] > 80
    assert passed["result"]["artifact"]["kept"] is False
    plain, ours = passed["speed"]["a"], passed["speed"]["b"]
    assert "onnx-plain" in plain["artifact"]
    assert plain["latency_ms"]["p50"] > 0 < ours["latency_ms"]["p50"]
    assert refused["result"]["code"] == "unknown_model"
    assert refused["speed"] is None
    assert result["rates"] == {"onnx": {"passed": 1, "models": 2}}


def test_all_names_are_timms() -> None:
    make_importable()
    import timm

    assert not [name for name in zoo.ZOO if not timm.is_model(name.removeprefix("timm:"))]
    assert len(set(zoo.ZOO)) == len(zoo.ZOO)


def test_no_model_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one model"):
        zoo.bench_zoo([])
