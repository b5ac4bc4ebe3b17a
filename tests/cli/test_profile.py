"""``mvt profile`` on this host and on the counting device, with real artifacts."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mobilevit_tools.cli.profile import _print_operators
from mobilevit_tools.devices import OperatorTime, RunRequest, RunResult
from mobilevit_tools.devices.count import CountDevice
from mobilevit_tools.jsonable import envelope, jsonable
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.runtimes.registry import load_session
from tests.cli.conftest import Ran

Mvt = Callable[..., Ran]


@pytest.mark.parametrize("name", ["onnx-fp32/model.onnx", "executorch-xnnpack-fp32/model.pte"])
def test_host_fields(mvt: Mvt, exported: Path, name: str) -> None:
    ran = mvt("profile", exported / name, "--rigor", "quick", "--json")
    assert ran.code == 0, ran.err
    result = ran.envelope["result"]
    assert result["device"] == "host"
    assert {"p50", "p90", "p99", "min", "mean", "std", "n", "interval"} <= set(result["latency_ms"])
    assert result["latency_ms"]["n"] >= 30
    interval = result["latency_ms"]["interval"]
    if interval is not None:  # on a busy machine, a quick run has too few samples that do not depend on each other
        assert interval[0] <= result["latency_ms"]["p50"] <= interval[1]
    assert result["params"] == 214_539
    assert result["instructions"] is None
    assert result["peak_memory_bytes"] > 10_000_000


@pytest.mark.thorough(twin="test_counts_are_compared_exactly")
def test_counts_repeat_and_guard_against_regressions(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    artifact = exported / "executorch-xnnpack-fp32/model.pte"
    first = mvt("profile", artifact, "--device", "count", "--json")
    assert first.code == 0, first.err
    result = first.envelope["result"]
    assert result["latency_ms"] is None
    assert result["instructions"] > 1_000_000
    baseline = tmp_path / "baseline.json"
    baseline.write_text(first.out)
    again = mvt("profile", artifact, "--device", "count", "--against", baseline, "--max-regress", "0%", "--json")
    assert again.code == 0, again.out
    assert again.envelope["result"]["instructions"] == result["instructions"]

    leaner = first.envelope
    leaner["result"]["instructions"] = int(result["instructions"] / 1.03)
    baseline.write_text(json.dumps(leaner))
    ran = mvt("profile", artifact, "--device", "count", "--against", baseline, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (4, "gate_failed")
    assert mvt("profile", artifact, "--device", "count", "--against", baseline, "--max-regress", "5%").code == 0


def test_counts_are_compared_exactly(mvt: Mvt, exported: Path) -> None:
    artifact = exported / "executorch-xnnpack-fp32/model.pte"
    ran = mvt("profile", artifact, "--compare", artifact, "--device", "count", "--json")
    assert ran.code == 0, ran.err
    assert ran.envelope["result"]["comparison"]["verdict"] == "no difference"


def test_operators_and_their_trace(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    artifact = exported / "executorch-xnnpack-fp32/model.pte"
    (tmp_path / "trace.json").write_text("old")
    files = ("--trace", tmp_path / "trace.json", "--node-data", tmp_path / "times.json")
    ran = mvt("profile", artifact, "--rigor", "quick", *files, "--overwrite", "--json")
    assert ran.code == 0, ran.err
    operators = ran.envelope["result"]["per_op"]
    assert any("Convolution" in operator["kind"] for operator in operators)
    trace = json.loads((tmp_path / "trace.json").read_text())
    calls = {operator["call"] for operator in operators if operator["delegate"]}
    assert calls == set(range(1, len(calls) + 1))
    assert len([event for event in trace["traceEvents"] if event["ph"] == "X"]) == len(operators) + len(calls)

    mvt("inspect", artifact, "--graph", tmp_path / "graph.json")
    nodes = json.loads((tmp_path / "graph.json").read_text())["graphs"][0]["nodes"]
    times = json.loads((tmp_path / "times.json").read_text())["delegation"]["results"]
    assert list(times) == [node["id"] for node in nodes]
    total = sum(operator["ms"] for operator in operators)
    assert sum(each["value"] for each in times.values()) == pytest.approx(total, abs=1e-4)


def counting(factor: float) -> Callable[[CountDevice, RunRequest], RunResult]:
    """Return a device that says what this machine computes, times a factor, and that it took 100 instructions."""

    def measure(self: CountDevice, request: RunRequest) -> RunResult:
        with load_session(request.artifact) as session:
            outputs = np.concatenate([session.run(array[None])[0] for array in request.inputs])
        return RunResult(self.label, factor * outputs, None, None, None, request.threads, instructions=100)

    return measure


def test_a_device_that_computes_something_else_is_a_failure(
    mvt: Mvt, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountDevice, "measure", counting(1.01))
    ran = mvt("profile", exported / "onnx-fp32/model.onnx", "--device", "count", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (4, "gate_failed")
    assert "returns different outputs" in ran.envelope["error"]["message"]


def test_what_is_not_finite_has_no_speed(mvt: Mvt, overflowing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountDevice, "measure", counting(1.0))
    ran = mvt("profile", overflowing, "--device", "count", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (4, "gate_failed")
    assert "non-finite" in ran.envelope["error"]["message"]


@pytest.fixture
def no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be measured before all is known that can be refused."""
    monkeypatch.setattr("mobilevit_tools.api.profile.profile_on_host", lambda *_, **__: pytest.fail("it measured"))
    monkeypatch.setattr("mobilevit_tools.api.profile.compare", lambda *_, **__: pytest.fail("it measured"))


@pytest.mark.usefixtures("no_measurement")
@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["--trace", "mine.txt"], 2, "exists"),
        (["--trace", "mine.txt/trace.json"], 3, "output"),
        (["--trace", "folder", "--overwrite"], 3, "output"),
        (["--node-data", "mine.txt"], 2, "exists"),
        (["--against", "nowhere.json"], 3, "no_such_run"),
        (["--against", "mine.txt"], 3, "bad_run"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_measured(
    mvt: Mvt, exported: Path, arguments: list[str], code: int, name: str
) -> None:
    Path("mine.txt").write_text("mine")
    Path("folder").mkdir()
    ran = mvt("profile", exported / "onnx-fp32/model.onnx", *arguments, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (code, name)
    assert Path("mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--device", "countt"], "unknown_device"),
        (["--max-regress", "lots", "--against", "mine.json"], "usage"),
        (["--max-regress", "2", "--against", "mine.json"], "usage"),
        (["--rigor", "bogus"], "usage"),
        (["--device", "count", "--per-op"], "usage"),
        (["--device", "count", "--threads", "2"], "usage"),
        (["--compare", "x.onnx", "--per-op"], "usage"),
        (["--compare", "x.onnx", "--node-data", "times.json"], "usage"),
        (["--memory", "--node-data", "times.json"], "usage"),
    ],
)
def test_misuse(mvt: Mvt, exported: Path, arguments: list[str], code: str) -> None:
    ran = mvt("profile", exported / "onnx-fp32/model.onnx", *arguments, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, code)


@pytest.mark.usefixtures("no_measurement")
@pytest.mark.parametrize("other", [[], ["--compare", "{artifact}"]])
def test_a_bound_on_a_regression_against_nothing_is_refused(mvt: Mvt, exported: Path, other: list[str]) -> None:
    artifact = exported / "onnx-fp32/model.onnx"
    ran = mvt("profile", artifact, *(each.format(artifact=artifact) for each in other), "--max-regress", "1%", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "usage")
    assert "--max-regress" in ran.envelope["error"]["message"]
    assert "--against" in ran.envelope["error"]["message"]


@pytest.mark.usefixtures("no_measurement")
def test_overwriting_a_trace_that_is_not_written_is_refused(mvt: Mvt, exported: Path) -> None:
    ran = mvt("profile", exported / "onnx-fp32/model.onnx", "--overwrite", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "usage")
    assert "--overwrite" in ran.envelope["error"]["message"]
    assert "--trace" in ran.envelope["error"]["message"]


def counted(instructions: int) -> ProfileResult:
    """Return what the counting device says."""
    return ProfileResult(
        device="count",
        artifact=Path("model.onnx"),
        target="onnx",
        threads=1,
        rigor="default",
        latency_ms=None,
        load_ms=None,
        first_ms=None,
        warmup_calls=None,
        samples_ms=(),
        instructions=instructions,
        peak_memory_bytes=None,
        baseline_memory_bytes=None,
        cores_used=None,
        params=None,
        macs=None,
        size_bytes=1000,
        flags=(),
    )


@pytest.fixture
def against(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[object, ...]:
    """Options that compare 101 instructions with a stored 100."""
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps(envelope("profile", counted(100))))
    monkeypatch.setattr("mobilevit_tools.api.profile._measure", lambda *_, **__: counted(101))
    return ("profile", "model.onnx", "--device", "count", "--against", baseline)


def test_a_comparison_that_passes_is_told(mvt: Mvt, against: tuple[object, ...], tmp_path: Path) -> None:
    people = mvt(*against)
    assert people.code == 0
    (line,) = [line for line in people.out.splitlines() if "regression" in line]
    assert "1.0100 times" in line
    assert "1.02 is allowed" in line

    ran = mvt(*against, "--json")
    assert ran.code == 0
    result = ran.envelope["result"]
    assert result.pop("regression") == {"ratio": 1.01, "allowed": 1.02, "exact": True, "regressed": False}
    assert result | {"regression": None, "sha256": None} == jsonable(counted(101))
    (tmp_path / "baseline.json").write_text(ran.out)
    assert mvt(*against, "--max-regress", "0").code == 0


def test_a_comparison_that_fails_is_told(mvt: Mvt, against: tuple[object, ...]) -> None:
    ran = mvt(*against, "--max-regress", "0.5%", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (4, "gate_failed")
    assert "1.0100 times the baseline's, where 1.005 is allowed" in ran.envelope["error"]["message"]
    assert ran.envelope["result"]["regression"]["regressed"] is True
    assert ran.envelope["result"]["instructions"] == 101
    people = mvt(*against, "--max-regress", "0.5%")
    assert "instructions" in people.out
    assert "no regression" not in people.out


def test_an_emulated_device_prints_no_latency(mvt: Mvt, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountDevice, "measure", counting(1.0))
    ran = mvt("profile", exported / "onnx-fp32/model.onnx", "--device", "count")
    assert "instructions" in ran.out
    assert "latency" not in ran.out
    assert " ms" not in ran.out


def test_core_ml_has_no_latency_here(mvt: Mvt, exported: Path) -> None:
    if shutil.which("xcrun"):
        pytest.fail("on macOS this test must measure in place of refuse: extend it there")
    ran = mvt("profile", exported / "coreml-fp32/model.mlpackage", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "no_latency")


def test_memory_of_a_core_ml_package_is_that_of_its_activations(mvt: Mvt, exported: Path) -> None:
    path = exported / "coreml-fp32/model.mlpackage"
    result = mvt("profile", path, "--memory", "--json").envelope["result"]
    peak = result["activations"]
    assert (result["device"], result["latency_ms"]) == ("program", None)
    assert peak["peak_bytes"] == sum(tensor["size_bytes"] for tensor in peak["live"]) > 0
    people = mvt("profile", path, "--memory").out
    assert peak["where"] in people
    assert peak["live"][0]["where"] in people
    assert "nothing ran" in people


def test_memory_where_the_runtime_is_here_is_that_of_its_process(mvt: Mvt, exported: Path) -> None:
    result = mvt("profile", exported / "onnx-fp32/model.onnx", "--memory", "--json").envelope["result"]
    assert (result["device"], result["latency_ms"], result["activations"]) == ("host", None, None)
    assert 0 < result["baseline_memory_bytes"] < result["peak_memory_bytes"]


@pytest.mark.parametrize("more", [["--device", "count"], ["--per-op"], ["--compare", "other.onnx"]])
def test_memory_is_looked_at_alone(mvt: Mvt, exported: Path, more: list[str]) -> None:
    ran = mvt("profile", exported / "onnx-fp32/model.onnx", "--memory", *more, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "usage")


def test_operators_are_shown_by_type_and_the_slowest_alone() -> None:
    times = [OperatorTime(f"conv_{index}", "Conv", index / 10, delegate=True) for index in range(1, 13)]
    times.append(OperatorTime("gelu", "Gelu", 2.2))
    console = Console(width=120, record=True, file=io.StringIO())
    _print_operators(console, times)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert lines[1:4] == ["Conv 7.800 78.0% 12 delegated", "Gelu 2.200 22.0% 1 not delegated", "all 10.000 13"]
    assert lines[5:7] == ["gelu 2.200 22.0% Gelu", "conv_12 1.200 12.0% Conv"]
    assert [line.split()[0] for line in lines[5:15]] == ["gelu", *(f"conv_{index}" for index in range(12, 3, -1))]
    assert lines[15] == "all 13 operators: --json or --trace"
