"""ONNX Runtime computes what the model says on every processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobilevit_tools.runtimes.onnx import open_session
from mobilevit_tools.runtimes.onnx_precise import unshared

WIDTH = 64


@pytest.fixture(params=[1, 2], ids=["once", "shared"])
def product(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A linear layer in 8 bits whose products are as large as they can be: in 16 bits, two of them overflow.

    Its weight may be read twice, by layers that give the same.
    """
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
    ]
    for number in range(request.param):
        nodes += [
            helper.make_node("MatMul", ["x_f", "w_f"], [f"y_f{number}"]),
            helper.make_node("QuantizeLinear", [f"y_f{number}", "large", "zero"], [f"y_8{number}"]),
            helper.make_node("DequantizeLinear", [f"y_8{number}", "large", "zero"], [f"y{number}"]),
        ]
    nodes.append(helper.make_node("Max", [f"y{number}" for number in range(request.param)], ["y"]))
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


def test_readers_of_one_weight_get_one_each(product: Path) -> None:
    before = onnx.load(product)
    model = unshared(onnx.load(product))
    onnx.checker.check_model(model, full_check=True)
    readers = [name for node in model.graph.node if node.op_type == "MatMul" for name in node.input if name != "x_f"]
    assert len(set(readers)) == len(readers)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = [stored[node.input[0]] for node in model.graph.node if node.input[0] in stored]
    assert all((weight == stored["weight"]).all() for weight in weights)
    assert len(weights) == len(readers)
    assert (len(readers) == 1) == (model == before)


def test_products_of_eight_bits_do_not_saturate(product: Path) -> None:
    with open_session(product, threads=1) as session:
        (got,) = session.run(np.full((1, WIDTH), 255, np.float32))
    np.testing.assert_array_equal(got, np.full((1, 8), WIDTH * 255 * 127, np.float32))
