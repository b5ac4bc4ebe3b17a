"""Specs refuse what a target cannot do, and say what it can."""

from __future__ import annotations

from typing import Any

import pytest

from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec, load_exporter
from mobilevit_tools.exporters.registry import TARGETS, find_target, named_targets
from mobilevit_tools.runtimes.registry import RUNTIMES


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        ({"target": "onxx"}, "no target named 'onxx'", "onnx"),
        ({"target": "onnx", "precision": "fp12"}, "no precision named 'fp12'", "fp32"),
        ({"target": "onnx", "backend": "xnnpack"}, "no backend named 'xnnpack'", "no choice"),
        ({"target": "executorch", "backend": "qnn"}, "no backend named 'qnn'", "xnnpack"),
        ({"target": "coreml", "dynamic_batch": True}, "fixed batch", "--batch"),
        ({"target": "coreml", "batch": 2}, "one at a time", "--tensor-io"),
        ({"target": "coreml", "deployment_target": "iOS12"}, "no deployment target", "iOS16"),
        ({"target": "onnx", "opset": 17}, "out of range", "18"),
        ({"target": "onnx", "batch": 0}, "at least one image", None),
    ],
)
def test_refusals(arguments: dict[str, Any], sentence: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        ExportSpec(**arguments)
    assert sentence in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_the_first_backend_is_the_default() -> None:
    assert ExportSpec("executorch").backend == "xnnpack"
    assert ExportSpec("executorch").variant == "executorch-xnnpack-fp32"
    assert ExportSpec("onnx", precision="fp16").variant == "onnx-fp16"


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_an_exporter_and_a_runtime(name: str) -> None:
    assert callable(load_exporter(name).lower)
    assert RUNTIMES[find_target(name).suffix].target == name


def test_a_target_that_is_named_twice_is_one() -> None:
    assert named_targets(["coreml", "onnx", "coreml"]) == ("coreml", "onnx")
    assert named_targets(["onnx", "all"]) == tuple(TARGETS)
