from __future__ import annotations

import pytest

from mobilevit_tools.errors import UsageError
from mobilevit_tools.quantization._base import plan_own_ranges
from mobilevit_tools.targets.registry import TARGETS


def test_nothing_is_measured() -> None:
    plan = plan_own_ranges("net", "executorch", "int8", calibration=None, max_drop=None, rewrites=())
    assert plan.own_ranges
    assert (plan.record.method, plan.record.calibration, plan.record.kept) == ("own-training", None, ())


@pytest.mark.parametrize(
    ("target", "precision", "given", "message"),
    [
        ("executorch", "fp32", {}, "its weights and ranges have 8 bits, not fp32"),
        ("litert", "int8", {}, "its ranges cannot be kept for litert"),
        ("executorch", "int8", {"calibration": "photos"}, "--calibration would change it"),
        ("executorch", "int8", {"max_drop": 1.0, "rewrites": ("a",)}, "--max-drop and --rewrites would change it"),
    ],
)
def test_what_would_change_the_ranges_is_refused(
    target: str, precision: str, given: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        plan_own_ranges("net", target, precision, **given)
    assert refusal.value.hint


def test_the_targets_that_keep_ranges_have_the_precision() -> None:
    able = [target for target in TARGETS.values() if target.keeps_ranges]
    assert able
    assert all("int8" in target.precisions for target in able)
