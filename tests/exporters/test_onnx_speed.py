"""What an export to ONNX skips has no effect: the model is the same, and what is needed is still done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxscript import TracedOnnxFunction
from onnxscript._framework_apis.torch_2_5 import get_torchlib_ops
from onnxscript._internal import values
from onnxscript.rewriter._rewrite_rule import Pattern
from torch import Tensor, nn
from torch.onnx._internal.exporter import _fx_passes

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters import onnx as exporter
from mobilevit_tools.exporters import onnx_speed
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.onnx_speed import without_repetition

CONTRACT = Contract(model="net", preprocessing=Preprocessing(input_size=(8, 8)), output="logits")


class Net(nn.Module):
    """What timm's networks are made of: norms after convolutions, activations in place, pooling of whole maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        maps = nn.functional.silu(self.norm(self.layer(x)), inplace=True)
        return self.head(self.pool(maps).flatten(1))


class Composed(nn.Module):
    """An operator that ONNX has no function for before it is decomposed."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.square(x).mean((2, 3))


@pytest.fixture
def traced_anew(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the programs that torch decomposes."""
    found: list[int] = []
    decompose = torch.export.ExportedProgram.run_decompositions

    def counted(self: torch.export.ExportedProgram, *args: Any, **options: Any) -> torch.export.ExportedProgram:
        found.append(len(self.graph.nodes))
        return decompose(self, *args, **options)

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", counted)
    return found


def export(net: nn.Module, path: Path) -> onnx.ModelProto:
    exporter.lower(net.eval(), ExportSpec("onnx"), CONTRACT, path)
    return onnx.load(path)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_domains_are_those_that_parsing_finds() -> None:
    with without_repetition():
        told = [(each.function, each.domain) for each in get_torchlib_ops()]
    assert len(told) > 400
    assert [domain for _, domain in told] == [function.function_ir.domain for function, _ in told]


def test_the_model_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traced_anew: list[int]) -> None:
    parsed: list[str] = []
    parse = values.ast_utils.get_src_and_ast
    monkeypatch.setattr(values.ast_utils, "get_src_and_ast", lambda f: parsed.append(f.__name__) or parse(f))
    quick = export(Net(), tmp_path / "quick.onnx")
    assert (parsed, traced_anew) == ([], [])
    monkeypatch.setattr(onnx_speed, "_WRITTEN_FOR", {"torch": "1."})
    slow = export(Net(), tmp_path / "slow.onnx")
    assert len(parsed) > 400
    assert len(traced_anew) == 1
    assert operators(quick) == operators(slow)
    assert "BatchNormalization" not in operators(quick), "the optimizer folds it into the convolution"
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    found = [
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx").run(None, {"image": x}) for name in ("quick", "slow")
    ]
    np.testing.assert_array_equal(*found)


def test_what_has_no_function_in_onnx_is_decomposed(tmp_path: Path, traced_anew: list[int]) -> None:
    model = export(Composed(), tmp_path / "net.onnx")
    assert len(traced_anew) == 1
    assert operators(model)[-1] == "ReduceMean"


def test_a_change_in_place_that_others_see_is_decomposed(tmp_path: Path, traced_anew: list[int]) -> None:
    class Changed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            maps = x * 2
            maps[:, 0].relu_()
            return maps.mean((2, 3))

    export(Changed(), tmp_path / "net.onnx")
    assert len(traced_anew) == 1
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    found = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"image": x})[0]
    np.testing.assert_allclose(found, Changed()(torch.from_numpy(x)), rtol=1e-5)


def test_whoever_asks_for_more_gets_it() -> None:
    function = get_torchlib_ops()[0].function
    parameters = function.function_ir.attrs
    with without_repetition():
        assert function.function_ir.attrs == parameters


def test_torch_and_onnxscript_are_as_before() -> None:
    def patched() -> tuple[object, ...]:
        return TracedOnnxFunction.function_ir, _fx_passes.decompose_with_registry, Pattern.match

    before = patched()
    with without_repetition():
        assert all(a is not b for a, b in zip(patched(), before, strict=True)), "a version that this was written for"
    assert all(a is b for a, b in zip(patched(), before, strict=True))
