"""What the lint knows of Qualcomm's NPU; tests/devices/test_htp.py asks the compiler itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from mobilevit_tools.api.inspect import inspect
from mobilevit_tools.devices.htp_lint import OUTSIDE, lint
from tests.devices.models import LEFT, TAKEN, norm


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def test_every_operator_that_stays_outside_has_a_model() -> None:
    assert OUTSIDE - {"IsInf"} < set(LEFT)


@pytest.mark.parametrize("name", LEFT)
def test_what_the_cpu_computes_is_named(name: str, file: Path) -> None:
    onnx.save(LEFT[name], file)
    assert lint(file) == (f"htp: the CPU computes {name} (1), not the NPU (onnxruntime-qnn 2.7).",)


@pytest.mark.parametrize("name", TAKEN)
def test_nothing_is_said_of_what_the_npu_takes(name: str, file: Path) -> None:
    onnx.save(TAKEN[name], file)
    assert lint(file) == ()


@pytest.mark.parametrize(("scale", "activations", "refused"), [(np.int8, np.uint8, 1), (np.uint8, np.uint8, 0)])
def test_a_norm_whose_scale_has_another_sign_is_refused(
    scale: type[np.generic], activations: type[np.generic], refused: int, file: Path
) -> None:
    onnx.save(norm(scale, activations), file)
    assert sum("refuses 1 LayerNormalization" in note for note in lint(file)) == refused
    onnx.save(norm(scale, activations, bias=False), file)
    assert lint(file) == ()


def test_inspect_tells_of_it(file: Path) -> None:
    onnx.save(LEFT["Softsign"], file)
    assert inspect(file).notes == ("htp: the CPU computes Softsign (1), not the NPU (onnxruntime-qnn 2.7).",)
