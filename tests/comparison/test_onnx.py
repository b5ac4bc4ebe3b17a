"""Which operators of an ONNX model multiply by stored weights, and which of these are quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mobilevit_tools.comparison.onnx import read_layers
from mobilevit_tools.quantization.share import Layer


def constant(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def write(path: Path, nodes: list[onnx.NodeProto], stored: list[onnx.TensorProto], x: list[int | str]) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


def test_convolutions_and_products_with_what_they_multiply_by(tmp_path: Path) -> None:
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        make("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        make("DequantizeLinear", ["w1", "scale", "wzero"], ["w1d"]),
        make("Conv", ["xd", "w1d", "bias"], ["c"], "conv"),
        make("ConvTranspose", ["c", "w2"], ["t"], "up", strides=[2, 2]),
        make("Reshape", ["t", "shape"], ["f"]),
        make("Transpose", ["w3"], ["w3t"], perm=[1, 0]),
        make("Gemm", ["f", "w3t"], ["g"], "head", transB=0),
        make("Gemm", ["g", "w4"], ["h"], "tail", transB=1),
        make("MatMul", ["g", "g2"], ["unused"]),
        make("Einsum", ["w5", "h"], ["y"], "mix", equation="oc,bc->bo"),
    ]
    stored = [
        constant("scale"),
        numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        numpy_helper.from_array(np.array(0, np.int8), "wzero"),
        constant("w1", 4, 3, 3, 3, dtype=np.int8),
        constant("bias", 4),
        constant("w2", 4, 2, 2, 2),
        constant("w3", 5, 2 * 12 * 12),
        constant("w4", 7, 5),
        constant("w5", 6, 7),
        numpy_helper.from_array(np.array([1, -1]), "shape"),
    ]
    nodes.insert(9, make("Transpose", ["g"], ["g2"], perm=[1, 0]))
    path = write(tmp_path / "net.onnx", nodes, stored, ["batch", 3, 8, 8])
    assert read_layers(path) == (
        Layer("conv", "Conv", "w1", 4 * 27, 6 * 6 * 4 * 27, quantized=True, integer=True),
        Layer("up", "ConvTranspose", "w2", 32, 4 * 6 * 6 * 2 * 4, quantized=False, integer=False),
        Layer("head", "Gemm", "w3", 5 * 288, 5 * 288, quantized=False, integer=False),
        Layer("tail", "Gemm", "w4", 35, 35, quantized=False, integer=False),
        Layer("mix", "Einsum", "w5", 42, 42, quantized=False, integer=False),
    )


def test_integer_products_and_weights_on_the_left(tmp_path: Path) -> None:
    make = helper.make_node
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        make("MatMulInteger", ["q", "w", "z"], ["i"], "product"),
        make("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        make("MatMul", ["left", "f"], ["y"]),
    ]
    path = write(tmp_path / "net.onnx", nodes, [constant("w", 3, 5, dtype=np.int8), constant("left", 2, 4)], [4, 3])
    assert read_layers(path) == (
        Layer("product", "MatMulInteger", "w", 15, 4 * 5 * 3, quantized=True, integer=True),
        Layer("MatMul_3", "MatMul", "left", 8, 2 * 5 * 4, quantized=False, integer=False),
    )
