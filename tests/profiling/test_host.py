"""Artifacts are measured in real child processes; those that crash, hang or print make no mess."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from mobilevit_tools.errors import BadInputError, DeviceError, UsageError
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.profiling import host
from mobilevit_tools.profiling.host import LOADS, compare_on_host, profile_on_host
from mobilevit_tools.profiling.statistics import BLOCK, summarize
from tests.profiling.conftest import SHORT, write_model


@pytest.mark.usefixtures("short_protocol")
def test_a_profile_holds_what_was_measured(model: Path) -> None:
    result = profile_on_host(model, params=108, macs=3888)
    assert (result.device, result.target, result.threads, result.rigor) == ("host", "onnx", 1, "default")
    assert (result.params, result.macs, result.instructions) == (108, 3888, None)
    assert len(result.samples_ms) == SHORT.min_runs
    assert all(sample > 0 for sample in result.samples_ms)
    assert result.latency_ms == summarize(result.samples_ms)
    assert result.warmup_calls == SHORT.warmup_calls
    assert result.size_bytes == model.stat().st_size
    assert result.load_ms is not None
    assert result.first_ms is not None
    assert result.load_ms > 0
    assert result.first_ms > 0
    assert set(result.flags) <= {"not_steady", "drift", "busy_host", "more_threads"}
    assert result.host.cores == os.cpu_count()
    assert {"python", "onnxruntime", "mobilevit-tools"} <= set(result.host.versions)
    assert jsonable(result)


@pytest.mark.usefixtures("short_protocol")
def test_the_artifacts_share_of_memory_is_told_from_the_runtimes(tmp_path: Path) -> None:
    megabytes = 48
    result = profile_on_host(write_model(tmp_path / "heavy.onnx", weight_bytes=megabytes * 2**20))
    assert result.peak_memory_bytes is not None
    assert result.baseline_memory_bytes is not None
    share = result.peak_memory_bytes - result.baseline_memory_bytes
    assert megabytes * 2**20 <= share <= 6 * megabytes * 2**20


@pytest.mark.usefixtures("short_protocol")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start the peak again")
def test_what_importing_the_runtime_took_is_not_in_the_peak(model: Path, misbehave: Callable[[str], None]) -> None:
    misbehave("gorge@import")
    result = profile_on_host(model)
    assert result.peak_memory_bytes is not None
    assert result.peak_memory_bytes < 512 * 2**20


@pytest.mark.usefixtures("short_protocol")
def test_a_comparison_takes_turns_and_keeps_every_sample(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    ask = host.MeasuringProcess.ask

    def record(process: host.MeasuringProcess, operation: str, **arguments: object) -> dict[str, object]:
        turns.append(f"{id(process)} {operation}")
        return ask(process, operation, **arguments)

    monkeypatch.setattr(host.MeasuringProcess, "ask", record)
    other = write_model(model.with_name("other.onnx"), size=16)
    result = compare_on_host(model, other)
    assert (result.a.artifact, result.b.artifact) == (model, other)
    a, b = turns[0].split()[0], turns[1].split()[0]
    assert a != b
    again = [f"{process} {step}" for process in (a, b) for step in ("load", "sample")]
    assert turns == [
        *(f"{process} {step}" for step in ("load", "warm_up") for process in (a, b)),
        *[f"{a} sample", f"{b} sample"],
        *[*again, f"{a} sample", f"{b} sample"] * (LOADS - 1),
    ]
    assert len(result.a.samples_ms) == len(result.b.samples_ms) == LOADS * BLOCK
    assert result.comparison.pairs == LOADS
    assert result.comparison.verdict in ("faster", "slower", "no difference")


@pytest.mark.usefixtures("short_protocol")
@pytest.mark.parametrize("place", ["import", "load", "call 1", "call 9"])
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [("abort", "crash", "ended with SIGABRT"), ("exit", "crash", "ended with exit status 3")],
)
def test_a_crash_is_one_sentence(
    model: Path, misbehave: Callable[[str], None], fault: str, place: str, code: str, words: str
) -> None:
    misbehave(f"{fault}@{place}")
    with pytest.raises(DeviceError, match=words) as caught:
        profile_on_host(model)
    assert caught.value.error_code == code
    if fault == "abort":
        assert caught.value.hint == "Last output: out of luck"


@pytest.mark.usefixtures("short_protocol")
@pytest.mark.parametrize("place", ["load", "call 2"])
def test_a_hang_ends(model: Path, misbehave: Callable[[str], None], place: str) -> None:
    misbehave(f"hang@{place}")
    with pytest.raises(DeviceError, match="took more than 2 s") as caught:
        profile_on_host(model, patience_s=2.0)
    assert caught.value.error_code == "hang"


@pytest.mark.usefixtures("short_protocol")
def test_an_inference_that_fails_says_why(model: Path, misbehave: Callable[[str], None]) -> None:
    misbehave("raise@call 5")
    with pytest.raises(DeviceError, match="RuntimeError: non-zero status in node 7"):
        profile_on_host(model)


@pytest.mark.usefixtures("short_protocol")
def test_libraries_that_print_disturb_nothing(
    model: Path, misbehave: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    misbehave("nothing@all")
    assert len(profile_on_host(model).samples_ms) == SHORT.min_runs
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("short_protocol")
def test_a_module_in_the_current_folder_is_not_imported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert profile_on_host(model).samples_ms


def test_flags_name_what_is_doubtful(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unsteady = replace(SHORT, agreement=-1.0, settle_calls=3)
    monkeypatch.setattr(host, "RIGORS", MappingProxyType({"default": unsteady}))
    monkeypatch.setattr(host, "is_busy", lambda *_: True)
    monkeypatch.setattr(host, "drifts", lambda _: True)
    monkeypatch.setattr(host, "_CORES_TOLERANCE", -1.0)
    assert profile_on_host(model).flags == ("not_steady", "drift", "busy_host", "more_threads")


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML artifacts are measured on macOS")
def test_core_ml_has_no_latency_here(tmp_path: Path) -> None:
    (tmp_path / "model.mlpackage").mkdir()
    with pytest.raises(UsageError, match="cannot be profiled on this host") as caught:
        profile_on_host(tmp_path / "model.mlpackage")
    assert caught.value.error_code == "no_latency"


def test_core_ml_takes_no_thread_count(tmp_path: Path) -> None:
    (tmp_path / "model.mlpackage").mkdir()
    with pytest.raises(UsageError, match="manages its own threads"):
        profile_on_host(tmp_path / "model.mlpackage", threads=2)


def test_bad_requests_are_refused_before_anything_starts(model: Path) -> None:
    with pytest.raises(UsageError, match="no rigor 'quik'"):
        profile_on_host(model, rigor="quik")
    with pytest.raises(UsageError, match="at least one thread"):
        profile_on_host(model, threads=0)
    with pytest.raises(BadInputError, match="There is no artifact"):
        profile_on_host(model.with_name("absent.onnx"))


def test_an_artifact_that_is_none_is_bad_input(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(BadInputError, match="cannot be loaded by ONNX Runtime"):
        profile_on_host(broken)


def test_free_height_and_width_cannot_be_made_up(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has flexible height and width"):
        profile_on_host(write_model(tmp_path / "free.onnx", size=None))
