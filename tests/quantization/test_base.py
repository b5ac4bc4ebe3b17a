from __future__ import annotations

import pytest

from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.targets.coreml import CoremlOptions
from mobilevit_tools.targets.precisions import PRECISIONS
from mobilevit_tools.targets.registry import TARGETS
from mobilevit_tools.verification.tolerances import GATES
from tests.quantization.tiny import calibration

CALIBRATED = {name: target.calibration_methods for name, target in TARGETS.items() if "int8" in target.precisions}


def test_every_precision_of_a_target_has_an_entry_and_a_gate() -> None:
    for target in TARGETS.values():
        assert set(target.precisions) <= set(PRECISIONS)
        assert set(target.precisions) <= set(GATES)


@pytest.mark.parametrize("target", CALIBRATED)
def test_int8_without_photos_is_refused_with_the_reason(target: str) -> None:
    with pytest.raises(UsageError, match="activation ranges are measured") as caught:
        plan_quantization(target, "int8", None)
    assert caught.value.hint is not None
    assert "--calibration" in caught.value.hint


def test_methods_are_the_targets_own() -> None:
    photos = calibration(2)
    for target, offered in CALIBRATED.items():
        plan = plan_quantization(target, "int8", photos)
        assert plan is not None
        assert plan.method == offered[0]
        assert plan.record.calibration == photos.record
    with pytest.raises(UsageError, match="coreml has no calibration method") as caught:
        plan_quantization("coreml", "int8", photos, "entropy")
    assert caught.value.hint == "It has percentile, min-max."


def test_floating_precisions_quantize_nothing_and_weights_need_no_photos() -> None:
    assert plan_quantization("onnx", "fp16", calibration(2)) is None
    plan = plan_quantization("coreml", "palette4", None)
    assert plan is not None
    assert plan.calibration is None


@pytest.mark.parametrize(
    ("target", "backend", "precision", "offered"),
    [
        ("onnx", None, "palette4", "int8-weight"),
        ("coreml", None, "dynamic-int8", "palette6"),
        ("executorch", "xnnpack", "int8-weight", "dynamic-int8"),
        ("executorch", "portable", "int8", "fp32, fp16."),
    ],
)
def test_pairs_that_do_not_exist_are_refused_with_what_does(
    target: str, backend: str | None, precision: str, offered: str
) -> None:
    with pytest.raises(UsageError, match=f"no precision named '{precision}'") as caught:
        ExportSpec(target, backend=backend, precision=precision)
    assert caught.value.hint is not None
    assert offered in caught.value.hint


@pytest.mark.parametrize(
    ("precision", "too_old", "enough"), [("int4-weight", "iOS17", "iOS18"), ("int8", "iOS16", "iOS17")]
)
def test_precisions_that_old_systems_lack_are_refused(precision: str, too_old: str, enough: str) -> None:
    with pytest.raises(UsageError, match=f"needs {enough}"):
        ExportSpec("coreml", precision=precision, options=CoremlOptions(deployment_target=too_old))
    assert (
        ExportSpec("coreml", precision=precision, options=CoremlOptions(deployment_target=enough)).arithmetic == "fp16"
    )
