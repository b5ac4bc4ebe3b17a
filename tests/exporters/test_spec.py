"""Specs refuse what a target cannot do, and say what it can."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest
from pydantic import TypeAdapter

from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec, load_exporter
from mobilevit_tools.exporters.request import ExportRequest, requests_for
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.targets.coreml import CoremlOptions
from mobilevit_tools.targets.onnx import OnnxOptions
from mobilevit_tools.targets.registry import STANDARD, SUFFIXES, TARGETS, find_target, named_targets


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        ({"target": "onxx"}, "no target named 'onxx'", "onnx"),
        ({"target": "onnx", "precision": "fp12"}, "no precision named 'fp12'", "fp32"),
        ({"target": "onnx", "backend": "xnnpack"}, "no backend named 'xnnpack'", "no choice"),
        ({"target": "executorch", "backend": "qnn"}, "no backend named 'qnn'", "xnnpack"),
        ({"target": "coreml", "options": OnnxOptions()}, "another target", "CoremlOptions"),
        ({"target": "coreml", "batch": 2}, "supports a batch of 1 only", "--tensor-io"),
        ({"target": "coreml", "options": CoremlOptions(deployment_target="iOS12")}, "no deployment target", "iOS16"),
        ({"target": "onnx", "options": OnnxOptions(opset=17)}, "out of range", "18"),
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
    assert SUFFIXES[find_target(name).suffix].name == name
    if find_target(name).missing():
        pytest.skip(f"the `{find_target(name).extra}` extra is not installed")
    assert callable(load_exporter(name).lower)
    assert callable(import_module(find_target(name).runtime).open_session)


def test_each_target_gets_what_it_takes() -> None:
    given = {"dynamic_batch": True, "opset": 18, "tensor_io": True, "deployment_target": "iOS18"}
    requests = requests_for(
        ("onnx", "coreml", "executorch"), model="care_s0", precision="fp16", backend="portable", target_options=given
    )
    onnx, coreml, executorch = [request.spec for request in requests]
    assert onnx == ExportSpec("onnx", precision="fp16", options=OnnxOptions(dynamic_batch=True, opset=18))
    assert coreml.options == CoremlOptions(tensor_io=True, deployment_target="iOS18")
    assert executorch == ExportSpec("executorch", precision="fp16", backend="portable")


def test_an_option_that_no_target_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="--dynamic-batch is not for coreml or executorch") as caught:
        requests_for(("coreml", "executorch"), model="m", backend=None, target_options={"dynamic_batch": True})
    assert "onnx" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="None of onnx, executorch has a backend named 'qnn'"):
        requests_for(("onnx", "executorch"), model="m", backend="qnn", target_options={})
    (request,) = requests_for(
        ("executorch",), model="m", backend=None, target_options={"dynamic_batch": False, "opset": None}
    )
    assert request == ExportRequest("m", "executorch")


def test_the_deployment_target_is_the_least_that_the_precision_needs() -> None:
    def least(precision: str) -> str:
        return ExportSpec("coreml", precision=precision).options.deployment_target

    assert (least("fp16"), least("int8"), least("int4-weight")) == ("iOS17", "iOS17", "iOS18")


def test_options_go_through_json_and_back() -> None:
    reader = TypeAdapter(ExportSpec)
    for spec in (
        ExportSpec("onnx", options=OnnxOptions(dynamic_batch=True, opset=21)),
        ExportSpec("coreml", precision="int4-weight", options=CoremlOptions(tensor_io=True)),
        ExportSpec("executorch"),
    ):
        assert reader.validate_json(json.dumps(jsonable(spec))) == spec
    for options, sentence in (
        ({"opsets": 20}, "no option 'opsets'"),
        ({"opset": "20"}, "opset takes int or None, not '20'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            reader.validate_python({"target": "onnx", "options": options})


def test_a_target_that_is_named_twice_is_one() -> None:
    assert named_targets(["coreml", "onnx", "coreml"]) == ("coreml", "onnx")
    assert named_targets(["coreml", "all"]) == ("coreml", "onnx", "executorch")


def test_all_leaves_out_what_needs_an_extra_unless_it_is_named_too() -> None:
    optional = [name for name, target in TARGETS.items() if target.extra is not None]
    assert set(named_targets(["all"])) == set(STANDARD) == set(TARGETS) - set(optional)
    assert named_targets(["all", *optional]) == (*STANDARD, *optional)
