"""``mvt verify --device`` runs every input there, judges what comes back, and refuses what cannot run there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mobilevit_tools.devices import Device, RunRequest, RunResult, arm64, local
from mobilevit_tools.errors import DeviceError
from tests.cli.conftest import Ran

Mvt = Callable[..., Ran]
ONNX, PTE = "onnx-fp32/model.onnx", "executorch-xnnpack-fp32/model.pte"


@pytest.mark.parametrize(("name", "device"), [(PTE, "arm64:cortex-a53"), (PTE, "host")])
def test_what_was_exported_passes(mvt: Mvt, exported: Path, name: str, device: str) -> None:
    ran = mvt("verify", exported / name, "--device", device, "--json")
    assert ran.code == 0, ran.err
    result = ran.envelope["result"]
    assert result["device"].startswith(device)
    assert result["parity"]["status"] == "passed"
    assert result["parity"]["inputs"] == len(
        mvt("verify", exported / name, "--json").envelope["result"]["parity"]["results"]
    )
    # Another processor sums in another order; the same one does not.
    assert (result["difference"]["max_abs_rel"] > 0) == (device != "host")
    assert result["difference"]["snr_db"] > 100


def test_a_changed_weight_fails_on_the_device_too(mvt: Mvt, exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(exported / "onnx-fp32", folder)
    model = onnx.load(folder / "model.onnx")
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.05
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / "model.onnx")
    ran = mvt("verify", folder / "model.onnx", "--device", "arm64", "--json")
    assert ran.code == 4
    assert ran.envelope["result"]["parity"]["status"] == "failed"
    assert "on arm64:cortex-a76: max-abs" in ran.envelope["error"]["message"]
    # The device did what the artifact says: it is the artifact that is wrong.
    assert ran.envelope["result"]["difference"]["snr_db"] > 100


def test_a_device_that_computes_nonsense_fails(mvt: Mvt, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = arm64.Arm64Device.measure

    def measure(self: Device, request: RunRequest) -> RunResult:
        result = honest(self, request)
        outputs = result.outputs.copy()
        outputs[-1] *= 1.01
        return replace(result, outputs=outputs)

    monkeypatch.setattr(arm64.Arm64Device, "measure", measure)
    ran = mvt("verify", exported / PTE, "--device", "arm64", "--json")
    assert ran.code == 4
    assert "worst on large activations" in ran.envelope["error"]["message"]
    assert ran.envelope["result"]["difference"]["snr_db"] < 60


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda outputs: outputs[1:], 6, "returned"),
        (lambda outputs: np.repeat(outputs, 2, axis=0), 6, "returned"),
        (lambda outputs: outputs[:, :-1], 4, "an output of the artifact has shape (9,), not (10,)"),
    ],
)
def test_outputs_of_another_shape_are_no_answer(
    mvt: Mvt,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[np.ndarray], np.ndarray],
    code: int,
    words: str,
) -> None:
    honest = local.LocalDevice.measure

    def measure(self: Device, request: RunRequest) -> RunResult:
        result = honest(self, request)
        return replace(result, outputs=change(result.outputs))

    monkeypatch.setattr(local.LocalDevice, "measure", measure)
    ran = mvt("verify", exported / PTE, "--device", "host", "--json")
    assert ran.code == code
    assert words in ran.envelope["error"]["message"]


def test_what_is_not_finite_on_this_machine_either_fails_its_gate(mvt: Mvt, overflowing: Path) -> None:
    ran = mvt("verify", overflowing, "--device", "host", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (4, "gate_failed")
    assert "non-finite output" in ran.envelope["error"]["message"]
    assert ran.envelope["result"]["parity"]["status"] == "failed"
    assert ran.envelope["result"]["difference"] is None


def test_a_device_that_fails_is_no_verdict(mvt: Mvt, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(self: Device, _: RunRequest) -> RunResult:
        raise DeviceError(f"{self.name} was disconnected.", code="device_disconnected")

    monkeypatch.setattr(arm64.Arm64Device, "measure", measure)
    ran = mvt("verify", exported / PTE, "--device", "arm64", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (6, "device_disconnected")


@pytest.mark.parametrize(
    ("name", "device", "words"),
    [
        (
            "coreml-fp32/model.mlpackage",
            "arm64",
            "arm64 does not run coreml artifacts: it runs onnx, executorch, litert.",
        ),
        (PTE, "browser", "browser does not run executorch artifacts: it runs onnx."),
        (ONNX, "iphone", "iphone does not run onnx artifacts: it runs coreml."),
        (ONNX, "count", "The count device computes the same numbers as this host."),
        (ONNX, "arm46", "There is no device 'arm46'."),
    ],
)
def test_what_a_device_cannot_run_is_refused(mvt: Mvt, exported: Path, name: str, device: str, words: str) -> None:
    ran = mvt("verify", exported / name, "--device", device, "--json")
    assert (ran.code, ran.envelope["error"]["message"]) == (2, words)
    assert ran.envelope["error"]["hint"]


def test_people_are_told_where_it_ran(mvt: Mvt, exported: Path) -> None:
    ran = mvt("verify", exported / PTE, "--device", "host")
    assert "ran on host" in ran.out
    assert "from this machine: 0.00e+00, 300.0 dB apart" in ran.out
