from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mobilevit_tools.devices import RunRequest, iphone, open_device
from mobilevit_tools.devices._base import Settling
from mobilevit_tools.errors import BadInputError, DeviceError, MissingDependencyError, UsageError
from tests.devices.conftest import SETTLINGS, check_warm_up

UDID = "00008110-000A1B2C3D4E5F60"


class FakeModel:
    """What coremltools offers of a model on a phone: y = 2 x in 3 ms, the first prediction in 30."""

    def __init__(self) -> None:
        self.load_duration_in_nano_seconds = 5_000_000
        self.last_predict_duration_in_nano_seconds = 30_000_000
        self.calls = 0

    async def load(self) -> None: ...

    async def unload(self) -> None: ...

    async def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.last_predict_duration_in_nano_seconds = 3_000_000 if self.calls else 30_000_000
        self.calls += 1
        return {"y": 2 * inputs["x"]}

    async def retrieve_compute_plan(self) -> Any:
        units = {"a": "MLNeuralEngineComputeDevice", "b": "MLNeuralEngineComputeDevice", "c": "MLCPUComputeDevice"}
        return SimpleNamespace(
            model_structure=[SimpleNamespace(operator_name=name) for name in (*units, "const")],
            get_compute_device_usage_for_mlprogram_operation=lambda op: (
                SimpleNamespace(preferred_compute_device=type(units[op.operator_name], (), {})())
                if op.operator_name in units
                else None
            ),
            get_estimated_cost_for_mlprogram_operation=lambda op: (
                SimpleNamespace(weight=0.5) if op.operator_name == "a" else None
            ),
        )


class FakePhone:
    name, os_version = "Test phone", "26.0"

    def __init__(self, udid: str) -> None:
        self.udid = udid
        self.stopped = 0
        self.session = SimpleNamespace(stop=self._stop)

    def _stop(self) -> None:
        self.stopped += 1

    async def prepare_for_model_debugging(self, credentials: Any) -> FakePhone:
        assert credentials.development_team == "TEAM"
        return self


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> list[FakePhone]:
    """A Mac with Xcode and one iPhone; the list is what is connected."""
    from coremltools.models.ml_program.experimental import async_wrapper, model_structure_path, remote_device

    phones = [FakePhone(UDID)]
    monkeypatch.setattr(iphone, "_is_mac", lambda: True)
    monkeypatch.setattr(iphone, "_PROGRAMS", ("sh",))
    monkeypatch.setenv(iphone.TEAM_VARIABLE, "TEAM")
    monkeypatch.setattr(remote_device.Device, "get_connected_devices", staticmethod(lambda _: list(phones)))
    monkeypatch.setattr(
        async_wrapper.MLModelAsyncWrapper, "from_spec_or_path", staticmethod(lambda *_, **__: FakeModel())
    )
    monkeypatch.setattr(
        model_structure_path,
        "map_model_structure_to_path",
        lambda model_structure: [(op, op) for op in model_structure],
    )
    return phones


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4))])
    def double(x: Any) -> Any:
        return mb.mul(x=x, y=2.0, name="y")

    path = tmp_path_factory.mktemp("coreml") / "double.mlpackage"
    ct.convert(double, convert_to="mlprogram", skip_model_load=True).save(str(path))
    return path


@pytest.fixture
def request_(package: Path) -> RunRequest:
    return RunRequest(package, np.arange(8, dtype=np.float32).reshape(2, 4), warmup=2, iterations=3, per_op=True)


def test_the_measurement(mac: list[FakePhone], request_: RunRequest) -> None:
    with open_device("iphone") as device:
        result = device.measure(request_)
    np.testing.assert_array_equal(result.outputs, 2 * request_.inputs)
    assert result.timing is not None
    assert result.timing.load_ms == 5.0
    assert result.timing.warmup_ms == (30.0, 3.0)
    assert result.timing.samples_ms == (3.0, 3.0, 3.0)
    assert result.placement == (("cpu", 1), ("neural_engine", 2))
    assert result.per_op is not None
    assert [(operator.name, operator.ms) for operator in result.per_op] == [("a", 1.5), ("b", 0.0), ("c", 0.0)]
    assert result.device == f"Test phone, iOS 26.0 (iphone:{UDID})"
    assert mac[0].stopped == 1


def test_phones_of_one_name_are_two_places_and_one_phone_is_one(mac: list[FakePhone], request_: RunRequest) -> None:
    mac.append(FakePhone("B2"))
    said = []
    for name in (f"iphone:{UDID}", "iphone:B2"):
        with open_device(name) as device:
            said.append(device.measure(request_).device)
    del mac[0]
    with open_device("iphone") as device:
        said.append(device.measure(request_).device)
    assert said == [f"Test phone, iOS 26.0 (iphone:{udid})" for udid in (UDID, "B2", "B2")]


def test_the_phone_of_the_first_measurement_is_that_of_the_next(mac: list[FakePhone], request_: RunRequest) -> None:
    with open_device("iphone") as device:
        device.measure(request_)
        assert device.name == f"iphone:{UDID}"
        mac[0] = FakePhone("B2")
        with pytest.raises(DeviceError, match=f"has the UDID '{UDID}'"):
            device.measure(request_)


@pytest.mark.parametrize("settling", SETTLINGS)
def test_the_warm_up_goes_on_until_two_windows_agree(
    mac: list[FakePhone], request_: RunRequest, monkeypatch: pytest.MonkeyPatch, settling: Settling
) -> None:
    async def predict(model: FakeModel, inputs: dict[str, Any]) -> dict[str, Any]:
        model.calls += 1
        model.last_predict_duration_in_nano_seconds = round(3e6 * (1 + 0.8**model.calls))
        return {"y": 2 * inputs["x"]}

    monkeypatch.setattr(FakeModel, "predict", predict)
    request = replace(request_, warmup=4, settling=settling)
    with open_device("iphone") as device:
        result = device.measure(request)
    assert result.timing is not None
    check_warm_up(result.timing.warmup_ms, request)
    assert len(result.timing.samples_ms) == 3


def test_seconds_are_those_that_pass_here(mac: list[FakePhone], request_: RunRequest) -> None:
    never = Settling(window=2, agreement=-1.0, max_runs=10**9, max_seconds=0.05)
    start = time.monotonic()
    with open_device("iphone") as device:
        result = device.measure(replace(request_, warmup_s=0.1, seconds=0.1, settling=never))
    assert 0.25 <= time.monotonic() - start < 30
    assert result.timing is not None
    assert len(result.timing.warmup_ms) > 2
    assert len(result.timing.samples_ms) > 3


def test_a_failure_on_the_phone_is_one_sentence_and_stops_the_app(
    mac: list[FakePhone], request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ValueError("The app was killed.\nSecond line")

    monkeypatch.setattr(FakeModel, "predict", fail)
    with pytest.raises(DeviceError) as caught, open_device("iphone") as device:
        device.measure(request_)
    assert caught.value.message == f"iphone:{UDID} failed: The app was killed."
    assert mac[0].stopped == 1


@pytest.mark.parametrize("nanoseconds", [0, -1, float("nan"), float("inf")])
def test_what_no_clock_shows_is_no_time(
    mac: list[FakePhone], request_: RunRequest, monkeypatch: pytest.MonkeyPatch, nanoseconds: float
) -> None:
    async def predict(model: FakeModel, inputs: dict[str, Any]) -> dict[str, Any]:
        model.last_predict_duration_in_nano_seconds = nanoseconds
        return {"y": 2 * inputs["x"]}

    monkeypatch.setattr(FakeModel, "predict", predict)
    with pytest.raises(DeviceError, match="not finite, or not above 0"), open_device("iphone") as device:
        device.measure(request_)


def test_a_load_time_that_the_phone_does_not_tell_is_not_made_up(
    mac: list[FakePhone], request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load(model: FakeModel) -> None:
        model.load_duration_in_nano_seconds = None

    monkeypatch.setattr(FakeModel, "load", load)
    with pytest.raises(DeviceError, match="did not report the load time") as caught, open_device("iphone") as device:
        device.measure(request_)
    assert caught.value.error_code == "bad_answer"
    assert mac[0].stopped == 1


def test_core_ml_takes_no_thread_count(mac: list[FakePhone], request_: RunRequest) -> None:
    with pytest.raises(UsageError, match="its own thread"), open_device("iphone") as device:
        device.measure(replace(request_, threads=2))


@pytest.mark.parametrize("error", [ValueError("The 'devicectl' command is required"), RuntimeError("")])
def test_a_list_of_iphones_that_cannot_be_had_is_a_reason_and_no_fault_of_ours(
    mac: list[FakePhone], request_: RunRequest, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from coremltools.models.ml_program.experimental import remote_device

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(remote_device.Device, "get_connected_devices", staticmethod(fail))
    (found,) = iphone.probe()
    assert not found.ready
    assert found.detail.startswith("The connected iPhones cannot be listed: ")
    assert str(error) in found.detail
    assert found.remedy is not None
    with pytest.raises(DeviceError, match="cannot be listed"), open_device("iphone") as device:
        device.measure(request_)


def test_which_iphone(mac: list[FakePhone]) -> None:
    assert open_device(f"iphone:{UDID}").probe().ready
    assert [found.device for found in iphone.probe()] == [f"iphone:{UDID}"]
    assert "has the UDID 'A1'" in open_device("iphone:A1").probe().detail
    mac.append(FakePhone("B2"))
    assert open_device("iphone").probe().detail == f"2 iPhones are connected: {UDID}, B2."
    assert open_device("iphone:B2").probe().ready
    mac.clear()
    assert open_device("iphone").probe().detail == "No iPhone is connected."
    with pytest.raises(UsageError):
        open_device("iphone:a;b")


def test_what_is_missing_on_a_mac(mac: list[FakePhone], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(iphone.TEAM_VARIABLE)
    assert open_device("iphone").probe().detail.startswith("MVT_APPLE_TEAM is not set")
    monkeypatch.setattr(iphone, "_PROGRAMS", ("no-such-program",))
    assert open_device("iphone").probe().detail == "no-such-program is not installed."


def test_elsewhere_the_reason_is_told_at_once(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iphone, "_is_mac", lambda: False)
    start = time.monotonic()
    (found,) = iphone.probe()
    assert time.monotonic() - start < 1
    assert not found.ready
    assert found.detail == "The iphone device requires macOS."
    with pytest.raises(MissingDependencyError, match="requires macOS"), open_device("iphone") as device:
        device.measure(request_)


def test_only_core_ml_packages_run(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(BadInputError, match="not onnx"), open_device("iphone") as device:
        device.measure(RunRequest(tmp_path / "m.onnx", np.zeros((1, 4), np.float32)))
