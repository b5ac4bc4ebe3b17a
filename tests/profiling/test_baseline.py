"""A regression is told from a baseline of the same place, exactly where instructions were counted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.profiling.baseline import compare_with_baseline, read_profile
from mobilevit_tools.profiling.environment import HostInfo
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.profiling.statistics import LatencySummary

COUNTED = ProfileResult(
    device="count",
    artifact=Path("model.pte"),
    target="executorch",
    threads=1,
    rigor="default",
    latency_ms=None,
    load_ms=None,
    first_ms=None,
    warmup_calls=None,
    samples_ms=(),
    instructions=1_000_000,
    peak_memory_bytes=None,
    baseline_memory_bytes=None,
    cores_used=None,
    params=None,
    macs=None,
    size_bytes=1,
    flags=(),
)


def timed(low: float, high: float) -> ProfileResult:
    middle = (low + high) / 2
    latency = LatencySummary(p50=middle, p90=high, p99=None, min=low, mean=middle, std=0.1, n=100, interval=(low, high))
    return replace(COUNTED, device="host", instructions=None, latency_ms=latency)


def stored(result: ProfileResult, folder: Path) -> Path:
    path = folder / "baseline.json"
    path.write_text(json.dumps({"schema": 1, "command": "profile", "status": "ok", "result": jsonable(result)}))
    return path


@pytest.mark.parametrize(("instructions", "regressed"), [(900_000, False), (1_020_000, False), (1_020_001, True)])
def test_instructions_are_compared_exactly(tmp_path: Path, instructions: int, regressed: bool) -> None:
    baseline = read_profile(stored(COUNTED, tmp_path))
    found = compare_with_baseline(replace(COUNTED, instructions=instructions), baseline, 0.02)
    assert (found.exact, found.regressed) == (True, regressed)


@pytest.mark.parametrize(
    ("low", "high", "regressed"),
    [(9.0, 11.0, False), (10.5, 14.0, False), (11.1, 12.0, False), (11.3, 12.0, True)],
)
def test_latency_regresses_only_beyond_both_intervals(tmp_path: Path, low: float, high: float, regressed: bool) -> None:
    baseline = read_profile(stored(timed(9.0, 11.0), tmp_path))
    assert compare_with_baseline(timed(low, high), baseline, 0.02).regressed is regressed


HERE = HostInfo("Some CPU", 2, "Linux 6", None, None, None, None, {})


@pytest.mark.parametrize(
    "other",
    [
        COUNTED,
        replace(timed(9.0, 11.0), threads=2),
        replace(timed(9.0, 11.0), host=replace(HERE, cpu="Another CPU")),
        replace(timed(9.0, 11.0), host=replace(HERE, cores=64)),
    ],
)
def test_other_places_and_threads_are_refused(tmp_path: Path, other: ProfileResult) -> None:
    baseline = read_profile(stored(replace(timed(9.0, 11.0), host=HERE), tmp_path))
    with pytest.raises(UsageError, match=r"Some CPU, 1 thread, 2 cores, Linux 6.* cannot be compared"):
        compare_with_baseline(other, baseline, 0.02)


@pytest.mark.parametrize("other", [{"target": "onnx"}, {"params": 8}, {"macs": 8}])
def test_another_model_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    baseline = read_profile(stored(replace(COUNTED, params=7, macs=7), tmp_path))
    assert not compare_with_baseline(COUNTED, baseline, 0.02).regressed, "nothing says what model it is"
    with pytest.raises(BadInputError, match="another model"):
        compare_with_baseline(replace(COUNTED, **{"params": 7, "macs": 7, **other}), baseline, 0.02)


@pytest.mark.parametrize(
    ("place", "value"),
    [("interval", [math.nan, math.nan]), ("interval", [0, 0]), ("instructions", 0), ("threads", math.inf)],
)
def test_figures_that_no_measurement_has_are_refused(tmp_path: Path, place: str, value: object) -> None:
    raw: dict[str, Any] = {"command": "profile", "result": jsonable(timed(9.0, 11.0))}
    (raw["result"]["latency_ms"] if place == "interval" else raw["result"])[place] = value
    (tmp_path / "x.json").write_text(json.dumps(raw))
    with pytest.raises(BadInputError):
        read_profile(tmp_path / "x.json")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"command": "profile", "result": {"device": "host"}}', '{"result": null}', "[" * 100_000],
)
def test_what_is_no_measurement_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(BadInputError, match=r"is not|nested"):
        read_profile(tmp_path / "x.json")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_profile(tmp_path / "nowhere.json")
