"""The measuring process from the inside."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, MissingDependencyError
from mobilevit_tools.profiling import worker
from mobilevit_tools.profiling.process import thread_environment
from mobilevit_tools.runtimes import registry
from mobilevit_tools.runtimes._base import TensorInfo
from mobilevit_tools.targets._base import Target
from tests.runtimes.test_sessions import vulkan_program


def session(info: TensorInfo, size: tuple[int, int] | None = None) -> SimpleNamespace:
    contract = None if size is None else Contract(model="m", preprocessing=Preprocessing(input_size=size))
    outputs = (TensorInfo("y", (1, 4), "float32"), TensorInfo("z", (1, 8, 2, 2), "float32"))
    return SimpleNamespace(inputs=(info,), outputs=outputs, contract=contract, prepare=lambda _: lambda: None)


@pytest.mark.parametrize(
    ("info", "size", "shape", "dtype"),
    [
        (TensorInfo("x", (2, 3, 8, 16), "float32"), None, (2, 3, 8, 16), np.float32),
        (TensorInfo("x", (None, 3, 8, 16), "float16"), None, (1, 3, 8, 16), np.float16),
        (TensorInfo("x", (None, 3, None, None), "float32"), (32, 64), (1, 3, 32, 64), np.float32),
        (TensorInfo("x", (1, 3, 8, 16), "uint8", kind="image"), (8, 16), (1, 3, 8, 16), np.uint8),
        (TensorInfo("x", (None, 10), "float32"), None, (1, 10), np.float32),
    ],
)
def test_the_example_fits_the_input(
    info: TensorInfo, size: tuple[int, int] | None, shape: tuple[int, ...], dtype: type
) -> None:
    array = worker.example_array(session(info, size))
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.std() > 0
    assert np.array_equal(array, worker.example_array(session(info, size)))


def test_sizes_that_nothing_tells_are_refused() -> None:
    with pytest.raises(BadInputError, match="x has flexible height and width"):
        worker.example_array(session(TensorInfo("x", (1, 3, None, 8), "float32")))


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Here an import takes 7 s, loading the artifact 2 s, on the system's runtime 3 s, binding its input 4 s."""
    clock = SimpleNamespace(now=100.0)
    info = TensorInfo("x", (1, 3, 8, 8), "float32")

    def take(seconds: float, result: object = None) -> Callable[..., object]:
        def step(*_: object, **__: object) -> object:
            clock.now += seconds
            return result

        return step

    def import_runtime(*_: object) -> None:
        clock.now += 7.0
        monkeypatch.setattr(worker, "load_session", take(2.0, opened))

    native = session(info)
    opened = session(info)
    opened.prepare = take(4.0, lambda: None)
    opened.native = take(3.0, native)
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(worker, "import_module", import_runtime)
    monkeypatch.setattr(Target, "load", import_runtime)
    monkeypatch.setattr(worker, "load_session", take(2.0 + 7.0, opened))  # loading imports what is not there yet
    return clock


@pytest.mark.usefixtures("clocked")
def test_load_time_is_the_artifacts_alone(model: Path) -> None:
    assert worker.Worker(lambda: None).load(str(model), threads=1)["load_ms"] == 2000.0


def test_load_time_and_memory_are_core_mls_alone(
    clocked: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.mlpackage").mkdir()
    monkeypatch.setattr(worker.resident, "current_bytes", lambda: int(clocked.now))
    loaded = worker.Worker(lambda: None).load(str(tmp_path / "model.mlpackage"), threads=1)
    assert loaded["load_ms"] == 3000.0
    # The reference is open by then, and both imports are done.
    assert loaded["baseline_memory_bytes"] == 100 + 7 + 2 + 7


def answers(*requests: dict[str, object]) -> list[dict[str, object]]:
    replies = io.StringIO()
    worker.serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_every_request_is_answered_and_errors_end_nothing(model: Path, tmp_path: Path) -> None:
    def load(path: Path) -> dict[str, object]:
        return {"operation": "load", "arguments": {"path": str(path), "threads": 1}}

    sample = {"operation": "sample", "arguments": {"runs": 3, "seconds": 0.0}}
    too_early, missing, loaded, sampled = answers(sample, load(tmp_path / "absent.onnx"), load(model), sample)
    assert too_early == {
        "error": [6, "The artifact failed during measurement: RuntimeError: nothing is loaded", None, "run_failed"]
    }
    code, message, hint, name = missing["error"]
    assert (code, message, name) == (3, f"There is no artifact at {tmp_path / 'absent.onnx'}.", "no_such_artifact")
    assert hint
    assert set(loaded["result"]) == {"load_ms", "baseline_memory_bytes", "versions"}
    assert len(sampled["result"]["samples_ms"]) == 3
    assert sampled["result"]["peak_memory_bytes"] >= loaded["result"]["baseline_memory_bytes"]


def test_what_cannot_run_here_is_said_as_elsewhere(tmp_path: Path) -> None:
    path = vulkan_program(tmp_path / "model.pte")
    load = {"operation": "load", "arguments": {"path": str(path), "threads": 1}}
    _, refused = answers(load, {"operation": "sample", "arguments": {"runs": 1, "seconds": 0.0}})
    message = "The runtime lacks these operators: delegate:VulkanBackend."
    assert refused == {"error": [5, message, None, "unsupported_operators"]}


def test_a_long_measurement_shows_that_it_is_alive(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ALIVE_SECONDS", 0.0)
    load = {"operation": "load", "arguments": {"path": str(model), "threads": 1}}
    sample = {"operation": "sample", "arguments": {"runs": 3, "seconds": 0.0}}
    assert [next(iter(answer)) for answer in answers(load, sample)] == ["result", *["alive"] * 3, "result"]


def test_every_thread_pool_is_held_and_sleeps_when_idle() -> None:
    environment = thread_environment(3)
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_a_runtime_that_is_not_installed_is_a_missing_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.tflite"
    path.touch()
    monkeypatch.setattr(registry, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError) as caught:
        worker.Worker(lambda: None).load(str(path), 1)
    assert caught.value.hint == "pip install 'mobilevit-tools[litert]'"
