from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilevit_tools.devices import RunRequest, open_device
from mobilevit_tools.errors import BadInputError, DeviceError, ExitCode, UsageError
from tests.devices.conftest import CRASHES, HANGS, SETTLINGS, TALKS_NONSENSE, Artifacts, check_warm_up, relative_error


@pytest.fixture
def request_(artifacts: Artifacts) -> RunRequest:
    return RunRequest(artifacts.fp32, artifacts.inputs, warmup=2, iterations=5)


def test_the_host_returns_outputs_every_sample_and_memory(request_: RunRequest, artifacts: Artifacts) -> None:
    with open_device("host") as device:
        result = device.measure(replace(request_, threads=2))
    assert relative_error(result.outputs, artifacts.reference) < 1e-5
    assert result.timing is not None
    assert (len(result.timing.warmup_ms), len(result.timing.samples_ms)) == (2, 5)
    assert result.timing.load_ms > 0
    assert result.planned_bytes is not None
    assert result.planned_bytes > 0
    assert result.maxrss_bytes is not None
    assert result.threads == 2
    assert result.instructions is None
    assert result.per_op is None


def test_the_host_warms_up_and_samples_as_long_as_the_protocol_says(request_: RunRequest) -> None:
    request = replace(request_, warmup=4, warmup_s=0.0, seconds=0.2, settling=SETTLINGS[0])
    with open_device("host") as device:
        result = device.measure(request)
    assert result.timing is not None
    check_warm_up(result.timing.warmup_ms, request)
    assert len(result.timing.samples_ms) > request.iterations


def test_operator_times_name_the_delegates_operators(request_: RunRequest) -> None:
    with open_device("host") as device:
        result = device.measure(replace(request_, per_op=True))
    assert result.per_op is not None
    kinds = [operator.kind for operator in result.per_op if operator.delegate]
    assert "Convolution" in kinds
    assert "Softmax" in kinds
    assert sum(operator.ms for operator in result.per_op) < 1000


def test_operator_times_of_onnxruntime(request_: RunRequest, artifacts: Artifacts) -> None:
    with open_device("host") as device:
        result = device.measure(replace(request_, artifact=artifacts.onnx, per_op=True))
    assert result.per_op is not None
    assert {"Softmax", "Gemm"} <= {operator.kind for operator in result.per_op}


def test_nothing_is_left_behind(request_: RunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_device("host") as device:
        device.measure(request_)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "code"), [(CRASHES, "runner_crashed"), (HANGS, "device_hangs"), (TALKS_NONSENSE, "bad_answer")]
)
@pytest.mark.parametrize("spec", ["host", "arm64"])
def test_faults_of_the_runner(
    faulty_runner: Callable[[str], None], request_: RunRequest, source: str, code: str, spec: str
) -> None:
    faulty_runner(source)
    with open_device(spec) as device, pytest.raises(DeviceError) as caught:
        device.measure(replace(request_, timeout_s=2 if source is HANGS else 60))
    assert caught.value.error_code == code
    assert caught.value.exit_code is ExitCode.DEVICE_FAILED
    assert "time limit" not in str(caught.value.hint)  # there is none that people could raise


def test_a_damaged_artifact_is_bad_input(request_: RunRequest, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(request_.artifact.read_bytes()[:2000])
    with open_device("host") as device, pytest.raises(BadInputError, match=r"damaged\.pte does not run"):
        device.measure(replace(request_, artifact=damaged))


def test_an_artifact_may_have_any_name(request_: RunRequest, tmp_path: Path) -> None:
    strange = tmp_path / "-a $(touch pwned); 'b\".pte"
    strange.write_bytes(request_.artifact.read_bytes())
    with open_device("host") as device:
        device.measure(replace(request_, artifact=strange))


def test_inputs_of_a_type_without_a_name_are_refused(request_: RunRequest) -> None:
    with open_device("host") as device, pytest.raises(BadInputError, match="complex64"):
        device.measure(replace(request_, inputs=request_.inputs.astype(np.complex64)))


def test_a_device_is_used_in_a_with_block(request_: RunRequest) -> None:
    with pytest.raises(DeviceError, match="not in use"):
        open_device("host").measure(request_)


@pytest.mark.parametrize(
    "wrong",
    [
        {"warmup": -1},
        {"warmup_s": -1.0},
        {"seconds": float("inf")},
        {"iterations": 0},
        {"threads": 0},
        {"timeout_s": float("nan")},
    ],
)
def test_impossible_requests_are_refused(request_: RunRequest, wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        replace(request_, **wrong)
