"""Specs refuse what a target cannot do, and say what it can."""

from __future__ import annotations

from typing import Any

import pytest

from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec, load_exporter
from mobilevit_tools.exporters.registry import TARGETS, find_target, named_targets
from mobilevit_tools.exporters.specs import make_specs
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


def test_each_target_gets_what_it_takes() -> None:
    given = {"dynamic_batch": True, "opset": 18, "tensor_io": True, "deployment_target": "iOS18", "backend": "portable"}
    onnx, coreml, executorch = make_specs(("onnx", "coreml", "executorch"), precision="fp16", **given)
    assert onnx == ExportSpec("onnx", precision="fp16", dynamic_batch=True, opset=18)
    assert coreml == ExportSpec("coreml", precision="fp16", tensor_io=True, deployment_target="iOS18")
    assert executorch == ExportSpec("executorch", precision="fp16", backend="portable")


def test_an_option_that_no_target_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="--dynamic-batch is not for coreml or executorch") as caught:
        make_specs(("coreml", "executorch"), dynamic_batch=True)
    assert "onnx" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="None of onnx, executorch has a backend named 'qnn'"):
        make_specs(("onnx", "executorch"), backend="qnn")
    assert make_specs(("executorch",), dynamic_batch=False, opset=None) == [ExportSpec("executorch")]


def test_a_target_that_is_named_twice_is_one() -> None:
    assert named_targets(["coreml", "onnx", "coreml"]) == ("coreml", "onnx")
    assert named_targets(["onnx", "all"]) == tuple(TARGETS)
