from __future__ import annotations

from dataclasses import replace

import pytest

from mobilevit_tools.errors import UsageError
from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.matrix.plan import Axes, plan_cells
from mobilevit_tools.targets.precisions import PRECISIONS, Precision
from mobilevit_tools.targets.registry import STANDARD

TEMPLATE = Cell("x", "onnx")


def names(axes: Axes, template: Cell = TEMPLATE) -> list[str]:
    return [cell.name for cell in plan_cells(axes, template).cells]


def test_everything_is_crossed_in_order_and_once() -> None:
    axes = Axes(("a", "b", "a"), ("onnx", "coreml"), ("fp32", "fp16"))
    assert names(axes) == [f"{m}/{t}/{p}" for m in "ab" for t in ("onnx", "coreml") for p in ("fp32", "fp16")]


def test_targets_that_nobody_named_are_left_out_where_they_lack_the_precision_and_that_is_said() -> None:
    plan = plan_cells(Axes(("a", "b"), None, ("fp32", "palette4")), TEMPLATE)
    assert [cell.name for cell in plan.cells if cell.precision == "palette4"] == [
        "a/coreml/palette4",
        "b/coreml/palette4",
    ]
    assert len(plan.cells) == 8
    assert plan.left_out == (
        "onnx has no precision named 'palette4'.",
        "executorch with xnnpack has no precision named 'palette4'.",
    )


def test_a_target_that_was_named_must_have_the_precision() -> None:
    with pytest.raises(UsageError, match="onnx has no precision named 'palette4'"):
        plan_cells(Axes(("a",), ("coreml", "onnx"), ("palette4",)), TEMPLATE)
    with pytest.raises(UsageError, match="executorch with portable has no precision named 'int8'"):
        plan_cells(Axes(("a",), None, ("int8",), backends=("portable",)), TEMPLATE)


def test_devices() -> None:
    axes = Axes(("a",), None, devices=("count", "browser"))
    plan = plan_cells(axes, TEMPLATE)
    assert [cell.name for cell in plan.cells] == [
        "a/onnx/fp32@count",
        "a/onnx/fp32@browser",
        "a/coreml/fp32",
        "a/executorch/fp32@count",
    ]
    assert plan.left_out == (
        "coreml artifacts do not run on count.",
        "coreml artifacts do not run on browser.",
        "executorch artifacts do not run on browser.",
    )
    with pytest.raises(UsageError, match="coreml artifacts do not run on count"):
        plan_cells(replace(axes, targets=("onnx", "coreml")), TEMPLATE)


def test_backends_go_to_the_target_that_has_them() -> None:
    axes = Axes(("a",), None, backends=("xnnpack", "portable"))
    assert names(axes) == ["a/onnx/fp32", "a/coreml/fp32", "a/executorch-xnnpack/fp32", "a/executorch-portable/fp32"]
    with pytest.raises(UsageError, match="onnx has no backend named 'xnnpack'") as refused:
        plan_cells(replace(axes, targets=("onnx",)), TEMPLATE)
    assert refused.value.hint == "It is one of --target executorch."
    with pytest.raises(UsageError, match="None of onnx, coreml has a backend named 'xnpack'"):
        plan_cells(replace(axes, targets=("onnx", "coreml"), backends=("xnpack",)), TEMPLATE)


@pytest.mark.parametrize(
    ("axes", "said", "hint"),
    [
        (Axes(("a",), ("onxx",)), "no target named 'onxx'", "onnx"),
        (Axes(("a",), None, ("pf32",)), "no precision named 'pf32'", "fp32"),
        (Axes(("a",), None, devices=("cuont",)), "no device 'cuont'", "count"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest(axes: Axes, said: str, hint: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        plan_cells(axes, TEMPLATE)
    assert hint in (refused.value.hint or "")


def test_four_bits_go_to_the_one_target_that_has_them() -> None:
    plan = plan_cells(Axes(("a",), None, ("int4-weight",)), TEMPLATE)
    assert [cell.name for cell in plan.cells] == ["a/coreml/int4-weight"]
    assert len(plan.left_out) == len(STANDARD) - 1


def test_a_matrix_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {**PRECISIONS, "int1": Precision("int1", "a single bit")}
    monkeypatch.setattr("mobilevit_tools.matrix.plan.PRECISIONS", nowhere)
    with pytest.raises(UsageError, match="Nothing of this matrix is possible") as refused:
        plan_cells(Axes(("a",), None, ("int1",)), TEMPLATE)
    assert "onnx has no precision named 'int1'" in (refused.value.hint or "")


def test_random_weights_are_for_models_without_any() -> None:
    axes = Axes(("care_s0.imagenette", "care_s0", "net.py:build"), ("onnx",))
    cells = plan_cells(axes, replace(TEMPLATE, random_weights=True)).cells
    assert [cell.random_weights for cell in cells] == [False, True, True]
