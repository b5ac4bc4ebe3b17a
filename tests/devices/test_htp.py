"""Qualcomm's compiler and simulator."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest

import mobilevit_tools
from mobilevit_tools.devices import RunRequest, RunResult, htp, open_device
from mobilevit_tools.devices.htp_lint import VERSION
from mobilevit_tools.devices.htp_package import PACKAGE
from mobilevit_tools.errors import BadInputError, DeviceError, MissingDependencyError, UsageError
from tests.devices.models import LEFT, TAKEN, norm, single
from tests.optional import PHOTOS, ROOT, Net

EXTRA = pytest.mark.targets


@pytest.fixture(autouse=True)
def _simulator(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("targets"):
        pytest.importorskip("onnxruntime_qnn", reason="the `qnn` extra is not installed; make test-targets")


def run(model: onnx.ModelProto, folder: Path, device: str = "htp") -> RunResult:
    path = folder / "model.onnx"
    onnx.save(model, path)
    shape = [size.dim_value or 1 for size in model.graph.input[0].type.tensor_type.shape.dim]
    inputs = np.random.default_rng(0).random((2 * shape[0], *shape[1:]), dtype=np.float32)
    with open_device(device) as opened:
        return opened.measure(RunRequest(path, inputs))


@EXTRA
@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name: str, tmp_path: Path) -> None:
    ran = run(TAKEN[name], tmp_path)
    assert ran.partitioning is not None
    assert (ran.partitioning.partitions, ran.partitioning.outside) == (1, {})
    assert ran.timing is None
    assert ran.device == "htp:sm8650 (HTP v75, simulated)"


@EXTRA
@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_the_cpu(name: str, tmp_path: Path) -> None:
    ran = run(LEFT[name], tmp_path)
    assert ran.partitioning is not None
    operator = LEFT[name].graph.node[0].op_type
    assert (ran.partitioning.partitions, set(ran.partitioning.outside)) == (0, {operator})
    assert operator in ran.partitioning.reasons


@EXTRA
@pytest.mark.parametrize("scale", [np.int8, np.uint8])
def test_the_sign_of_a_norm(scale: type[np.generic], tmp_path: Path) -> None:
    found = run(norm(scale, np.uint8), tmp_path).partitioning
    assert found is not None
    assert ("LayerNormalization" in found.outside) == (scale is np.int8)


@EXTRA
def test_a_free_batch_is_of_one(tmp_path: Path) -> None:
    model = single("Relu")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    ran = run(model, tmp_path)
    assert ran.outputs.shape == (2, 8, 16, 16)
    assert ran.partitioning is not None
    assert ran.partitioning.partitions == 1


@EXTRA
def test_without_the_model_of_the_chip_a_float_elu_does_not_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the device names both."""
    monkeypatch.setattr(htp, "CHIPS", {"unknown": htp.Chip(0, 75)})
    with pytest.raises(BadInputError, match="finalize"):
        run(single("Elu"), tmp_path, "htp:unknown")


@EXTRA
@pytest.mark.parametrize("precision", ["fp32", "int8", "a16w8"])
def test_a_vision_transformer_is_verified_there(precision: str, tmp_path: Path) -> None:
    net = Net().eval()
    (made,) = mobilevit_tools.export(
        net,
        name="net",
        targets="onnx",
        precision=precision,
        labels=["cat", "dog", "horse"],
        input_size=(16, 16),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        calibration=None if precision == "fp32" else PHOTOS,
        output=tmp_path,
    ).artifacts
    result = mobilevit_tools.verify(made.path, model=net, device="htp")
    assert (result.parity.status, result.precision) == ("passed", "int8")
    assert result.agreement is not None
    assert result.agreement >= 0.9
    assert result.partitioning is not None
    assert result.partitioning.partitions == 1
    assert not result.partitioning.outside.keys() - {"QuantizeLinear", "DequantizeLinear"}
    profiled = mobilevit_tools.profile(made.path, device="htp")
    assert profiled.latency_ms is None
    assert profiled.partitioning == result.partitioning


@EXTRA
def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08")
    with open_device("htp") as device, pytest.raises(BadInputError, match="does not run"):
        device.measure(RunRequest(path, np.zeros((1, 3), np.float32)))


@EXTRA
def test_a_simulation_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(single("Relu"), path)
    with open_device("htp") as device, pytest.raises(DeviceError, match="did not end") as caught:
        device.measure(RunRequest(path, np.zeros((1, 8, 16, 16), np.float32), timeout_s=0.05))
    assert caught.value.error_code == "device_hangs"


def test_without_the_extra_the_command_that_brings_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(package: str) -> Path:
        raise MissingDependencyError(f"{package} is not installed.")

    monkeypatch.setattr(htp, "package_folder", missing)
    with pytest.raises(MissingDependencyError) as caught:
        run(single("Relu"), tmp_path)
    assert caught.value.hint == "pip install 'mobilevit-tools[qnn]'"
    assert caught.value.exit_code == 5
    (told,) = htp.probe()
    assert (told.ready, told.remedy) == (False, "pip install 'mobilevit-tools[qnn]'")


def test_the_package_is_pinned_to_the_tested_series() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pin,) = project["optional-dependencies"]["qnn"]
    assert pin.startswith(f"{PACKAGE.name}=={PACKAGE.tested[0]}")
    assert VERSION.replace(" ", "==") in pin


def test_no_simulator_on_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htp, "machine", lambda: "aarch64")
    with pytest.raises(MissingDependencyError, match="aarch64"):
        htp.find_simulator()


def test_an_unknown_chip_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        open_device("htp:sm1")
    assert caught.value.hint is not None
    assert "sm8650" in caught.value.hint


def test_the_device_imports_no_runtime() -> None:
    code = "import sys, mobilevit_tools.devices.htp as d; d.probe(); print('onnxruntime' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"
