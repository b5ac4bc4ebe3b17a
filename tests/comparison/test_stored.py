"""Weights are found where each format keeps them, and one changed number is one changed weight."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobilevit_tools.comparison.coreml import read_weights as coreml_weights
from mobilevit_tools.comparison.executorch import read_weights as executorch_weights
from mobilevit_tools.comparison.onnx import read_weights as onnx_weights
from mobilevit_tools.comparison.weights import diff_weights
from mobilevit_tools.errors import BadInputError

PARAMS = 210_000
"""The exported model has 214,539, some of which are folded into others."""


def test_onnx(exported: Path, tmp_path: Path) -> None:
    artifact = exported / "onnx-fp32/model.onnx"
    weights, notes = onnx_weights(artifact)
    assert notes == ()
    assert sum(each.size_bytes for each in weights) >= 4 * PARAMS
    assert all(each.name for each in weights)

    model = onnx.load(artifact)
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 2)
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    other = tmp_path / "model.onnx"
    onnx.save(model, other)
    found = diff_weights("onnx", artifact, "onnx", other)
    assert [(change.a.name, change.b.shape) for change in found.changed] == [(tensor.name, values.shape)]
    assert (found.same, found.only_a, found.only_b) == (len(weights) - 1, (), ())


def test_biases_of_quantized_onnx_models_are_weights(tmp_path: Path) -> None:
    def quantized(bias: int) -> Path:
        arrays = {
            "w": np.ones((2, 3), np.int8),
            "w_scale": np.array(0.5, np.float32),
            "b": np.array([bias, 2], np.int32),
            "b_scale": np.array(0.25, np.float32),
            "shape": np.array([1, 3], np.int32),
        }
        nodes = [
            helper.make_node("Cast", ["shape"], ["wide"], to=TensorProto.INT64),
            helper.make_node("Reshape", ["x", "wide"], ["row"]),
            helper.make_node("DequantizeLinear", ["w", "w_scale"], ["weight"]),
            helper.make_node("DequantizeLinear", ["b", "b_scale"], ["bias"]),
            helper.make_node("Gemm", ["row", "weight", "bias"], ["y"], transB=1),
        ]
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("x", 3), ("y", 2)))
        constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        path = tmp_path / f"{bias}.onnx"
        onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants)), path)
        return path

    one, other = quantized(1), quantized(7)
    assert {each.name: each.size_bytes for each in onnx_weights(one)[0]} == {"w": 6, "w_scale": 4, "b": 8, "b_scale": 4}
    found = diff_weights("onnx", one, "onnx", other)
    assert [change.a.name for change in found.changed] == ["b"]


def test_weights_in_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(8))
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2], bytes(8), raw=True)
    onnx.external_data_helper.set_external_data(tensor, "../secret")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    shape = numpy_helper.from_array(np.array([1, 2]), "shape")
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [], [], [tensor, shape])).SerializeToString())
    assert onnx_weights(path) == ((), ("1 weights are stored in external files of model.onnx and were not compared.",))


def test_core_ml(exported: Path, tmp_path: Path) -> None:
    artifact = exported / "coreml-fp32/model.mlpackage"
    weights, _ = coreml_weights(artifact)
    assert sum(each.size_bytes for each in weights) >= 4 * PARAMS
    other = tmp_path / "model.mlpackage"
    shutil.copytree(artifact, other)
    (blob,) = other.rglob("weight.bin")
    content = bytearray(blob.read_bytes())
    content[-1000] ^= 0x10
    blob.write_bytes(content)
    found = diff_weights("coreml", artifact, "coreml", other)
    assert found.matched_by == "name"
    assert (len(found.changed), found.only_a, found.only_b) == (1, (), ())
    assert found.same == len(weights) - 1


def test_executorch_has_no_names(exported: Path, tmp_path: Path) -> None:
    artifact = exported / "executorch-xnnpack-fp32/model.pte"
    weights, (note,) = executorch_weights(artifact)
    assert "by content" in note
    assert sum(each.size_bytes for each in weights) >= 4 * PARAMS
    assert [each.dtype for each in weights].count("program") >= 1
    other = tmp_path / "model.pte"
    content = bytearray(artifact.read_bytes())
    content[-5000] ^= 0x10  # the data lies behind the program
    other.write_bytes(content)
    found = diff_weights("executorch", artifact, "executorch", other)
    assert (len(found.only_a), len(found.only_b), found.changed) == (1, 1, ())
    assert found.only_a[0].size_bytes == found.only_b[0].size_bytes


def test_what_the_two_formats_share_is_found(exported: Path) -> None:
    a, b = exported / "onnx-fp32/model.onnx", exported / "executorch-xnnpack-fp32/model.pte"
    found = diff_weights("onnx", a, "executorch", b)
    assert found.matched_by == "content"
    assert found.same >= 5
    assert found.same_bytes > 10_000
    assert found.renamed == 0
    assert "The targets differ" in found.notes[-1]


def test_a_damaged_program_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(b"\0\0\0\0ET12" + bytes(64))
    with pytest.raises(BadInputError, match="cannot be read as an ExecuTorch program"):
        executorch_weights(path)
