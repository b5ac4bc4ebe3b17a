from __future__ import annotations

import subprocess
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

import mobilevit_tools
from mobilevit_tools.devices import RunRequest, browser, open_device
from mobilevit_tools.devices._base import Settling
from mobilevit_tools.errors import BadInputError, DeviceError, UsageError
from tests.devices.conftest import SETTLINGS, Artifacts, check_warm_up, relative_error


@pytest.fixture
def request_(artifacts: Artifacts) -> RunRequest:
    return RunRequest(artifacts.onnx, artifacts.inputs, warmup=2, iterations=5, timeout_s=120)


@pytest.fixture
def fake_chromium(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = empty_path / "chromium"
    program.write_text("#!/bin/sh\nexit 21\n")
    program.chmod(0o755)
    return program


def test_the_browser_computes_the_model_with_threads(
    request_: RunRequest, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_device("browser") as device:
        result = device.measure(replace(request_, threads=2))
    assert relative_error(result.outputs, artifacts.reference) <= 1e-4
    assert result.timing is not None
    assert (len(result.timing.warmup_ms), len(result.timing.samples_ms)) == (2, 5)
    assert result.timing.load_ms > 0
    assert result.threads == 2
    assert device.is_this_machine
    assert result.cpu_seconds is not None
    assert 0.2 < result.cpu_seconds < 300
    assert result.device.startswith("browser (Chromium ")
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_the_warm_up_goes_on_until_two_windows_agree(request_: RunRequest) -> None:
    with open_device("browser") as device:
        for settling in SETTLINGS:
            request = replace(request_, warmup=4, seconds=0.2, settling=settling)
            result = device.measure(request)
            assert result.timing is not None
            check_warm_up(result.timing.warmup_ms, request)
            assert 0.05 < sum(result.timing.samples_ms) / 1e3 < 1.0
        never = Settling(window=2, agreement=-1.0, max_runs=10**9, max_seconds=0.2)
        result = device.measure(replace(request_, warmup=0, warmup_s=0.1, settling=never))
    assert result.timing is not None
    assert 0.1 < sum(result.timing.warmup_ms) / 1e3 < 1.0


def test_an_input_that_does_not_fit_is_refused(request_: RunRequest) -> None:
    with open_device("browser") as device, pytest.raises(BadInputError, match="the model takes float32"):
        device.measure(replace(request_, inputs=np.zeros((1, 3, 16, 16), np.float32)))


def test_a_damaged_artifact_is_bad_input(request_: RunRequest, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(request_.artifact.read_bytes()[:1000])
    with open_device("browser") as device, pytest.raises(BadInputError, match=r"damaged\.onnx does not run"):
        device.measure(replace(request_, artifact=damaged))


def test_what_the_browser_cannot_do_is_refused(request_: RunRequest, artifacts: Artifacts) -> None:
    with open_device("browser") as device:
        with pytest.raises(BadInputError, match="not executorch"):
            device.measure(replace(request_, artifact=artifacts.fp32))
        with pytest.raises(UsageError, match="no operator times"):
            device.measure(replace(request_, per_op=True))
    with pytest.raises(UsageError):
        open_device("browser:firefox")


def test_a_browser_that_dies_or_hangs(request_: RunRequest, fake_chromium: Path) -> None:
    with open_device("browser") as device:
        with pytest.raises(DeviceError, match="status 21") as caught:
            device.measure(request_)
        assert caught.value.error_code == "runner_crashed"
        fake_chromium.write_text('#!/bin/sh\n[ "$1" = --version ] || exec /bin/sleep 60\n')
        with pytest.raises(DeviceError, match=r"did not end within 0\.5 s") as caught:
            device.measure(replace(request_, timeout_s=0.5))
        assert caught.value.error_code == "device_hangs"


def test_what_is_served_is_behind_the_token(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"secret")
    with browser._serve({"index.html": tmp_path / "page", "model.onnx": tmp_path / "page"}) as (address, posted):
        place = urlsplit(address)

        def status(method: str, path: str) -> int:
            connection = HTTPConnection(place.netloc, timeout=10)
            connection.request(method, path, body=b"5")
            answer = connection.getresponse().status
            connection.close()
            return answer

        root = place.path.removesuffix("index.html")
        assert [status("GET", path) for path in (place.path, root + "model.onnx", root + "other")] == [200, 200, 404]
        assert [status("GET", path) for path in ("model.onnx", "/model.onnx", "/", "/wrong/model.onnx")] == [404] * 4
        assert [status("POST", path) for path in ("report", "/report", "/wrong/report")] == [404] * 3
        assert posted.empty()
        assert status("POST", root + "report") == 204
        assert posted.get_nowait() == ("report", b"5")


def test_without_chromium_the_remedy_is_a_command(empty_path: Path) -> None:
    (found,) = browser.probe()
    assert found.detail == "chromium is not installed."
    assert found.remedy is not None
    assert found.remedy.endswith("-m mobilevit_tools.devices.prepare browser")


def test_an_artifact_is_verified_there(exported: Path) -> None:
    result = mobilevit_tools.verify(exported / "onnx-fp32/model.onnx", device="browser")
    assert result.device is not None
    assert result.device.startswith("browser (Chromium ")
    assert result.parity.status == "passed"
    assert result.parity.inputs >= 11
    assert result.difference is not None
    assert result.difference.snr_db is not None
    assert result.difference.snr_db > 100
