"""ONNX Runtime computes what the model says on every processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobilevit_tools.runtimes.onnx import open_session

WIDTH = 64


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A linear layer in 8 bits whose products are as large as they can be: in 16 bits, two of them overflow."""
    constants = {
        "one": np.float32(1),
        "large": np.float32(WIDTH * 255),
        "zero": np.uint8(0),
        "zero_weight": np.int8(0),
        "weight": np.full((WIDTH, 8), 127, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["x_8"]),
        helper.make_node("DequantizeLinear", ["x_8", "one", "zero"], ["x_f"]),
        helper.make_node("DequantizeLinear", ["weight", "one", "zero_weight"], ["w_f"]),
        helper.make_node("MatMul", ["x_f", "w_f"], ["y_f"]),
        helper.make_node("QuantizeLinear", ["y_f", "large", "zero"], ["y_8"]),
        helper.make_node("DequantizeLinear", ["y_8", "large", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_products_of_eight_bits_do_not_saturate(product: Path) -> None:
    with open_session(product, threads=1) as session:
        (got,) = session.run(np.full((1, WIDTH), 255, np.float32))
    np.testing.assert_array_equal(got, np.full((1, 8), WIDTH * 255 * 127, np.float32))
