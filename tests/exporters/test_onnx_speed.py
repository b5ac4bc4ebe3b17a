"""Operators tell their domains without being parsed, the right ones, and the model is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnxscript._framework_apis.torch_2_5 import get_torchlib_ops
from onnxscript._internal import values
from torch import nn

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters import onnx
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.onnx_speed import without_parsing

CONTRACT = Contract(model="net", preprocessing=Preprocessing(input_size=(8, 8)), output="logits")


def test_domains_are_those_that_parsing_finds() -> None:
    with without_parsing():
        told = [(each.function, each.domain) for each in get_torchlib_ops()]
    assert len(told) > 400
    assert [domain for _, domain in told] == [function.function_ir.domain for function, _ in told]


def test_nothing_is_parsed_for_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 2)).eval()
    parsed: list[str] = []
    parse = values.ast_utils.get_src_and_ast
    monkeypatch.setattr(values.ast_utils, "get_src_and_ast", lambda f: parsed.append(f.__name__) or parse(f))
    onnx.lower(net, ExportSpec("onnx"), CONTRACT, tmp_path / "quick.onnx")
    assert parsed == []
    monkeypatch.setattr(onnx, "without_parsing", monkeypatch.context)
    onnx.lower(net, ExportSpec("onnx"), CONTRACT, tmp_path / "slow.onnx")
    assert len(parsed) > 400
    assert (tmp_path / "quick.onnx").read_bytes() == (tmp_path / "slow.onnx").read_bytes()


def test_whoever_asks_for_more_gets_it() -> None:
    function = get_torchlib_ops()[0].function
    parameters = function.function_ir.attrs
    with without_parsing():
        assert function.function_ir.attrs == parameters
