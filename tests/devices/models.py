"""ONNX models of one operator or two, with what Qualcomm's NPU makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def model(
    nodes: Sequence[onnx.NodeProto], shape: Sequence[int | str], constants: Mapping[str, NDArray[Any]], opset: int = 20
) -> onnx.ModelProto:
    """Return a model that takes ``x`` and gives ``y``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 10
    return onnx.shape_inference.infer_shapes(made)


def single(op: str, *constants: Any, shape: Sequence[int] = (1, 8, 16, 16), **attributes: Any) -> onnx.ModelProto:
    """Return a model of one operator whose other inputs are constant."""
    named = {f"c{i}": array for i, array in enumerate(constants) if array is not None}
    names = ["" if array is None else f"c{i}" for i, array in enumerate(constants)]
    return model([helper.make_node(op, ["x", *names], ["y"], name="node", **attributes)], shape, named)


def gelu() -> onnx.ModelProto:
    """Return an exact GELU, written out as operator sets before 20 do."""
    nodes = [
        helper.make_node("Div", ["x", "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["d"]),
        helper.make_node("Mul", ["d", "half"], ["y"]),
    ]
    return model(nodes, (1, 8, 16), {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)})


def norm(scale: type[np.generic], activations: type[np.generic], *, bias: bool = True) -> onnx.ModelProto:
    """Return a quantized LayerNormalization."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "as", "az"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "as", "az"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "as", "wz"], ["wd"]),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"]),
        helper.make_node("LayerNormalization", ["xd", "wd", "bd" if bias else "float"], ["n"], name="node"),
        helper.make_node("QuantizeLinear", ["n", "as", "az"], ["nq"]),
        helper.make_node("DequantizeLinear", ["nq", "as", "az"], ["y"]),
    ]
    constants = {
        "as": np.float32(0.05),
        "az": activations(0),
        "w": np.arange(16).astype(scale),
        "wz": scale(0),
        "b": np.zeros(16, np.int32),
        "bs": np.float32(0.0025),
        "bz": np.int32(0),
        "float": np.zeros(16, np.float32),
    }
    return model(nodes, (1, 8, 16), constants, opset=21)


_ALONE = (
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atanh",
    "Celu",
    "Cosh",
    "Det",
    "Erf",
    "Hardmax",
    "MeanVarianceNormalization",
    "Shrink",
    "Sinh",
    "Softsign",
    "Trilu",
)
_BORDER = np.array([0, 0, 1, 1, 0, 0, 1, 1])
_LAST = np.array([-1])
LEFT: Mapping[str, onnx.ModelProto] = {
    **{op: single(op) for op in _ALONE},
    **{op: single(op, _LAST) for op in ("ReduceL1", "ReduceLogSum", "ReduceProd", "ReduceSumSquare")},
    "Col2Im": single("Col2Im", np.array([16, 16]), np.array([2, 2]), shape=(1, 32, 64), strides=[2, 2]),
    "DFT": single("DFT", shape=(1, 8, 16, 1)),
    "ReverseSequence": single("ReverseSequence", np.array([4]), batch_axis=0, time_axis=1),
    "Mod of floats": single("Mod", np.float32(3), fmod=1),
    "Pad that wraps": single("Pad", _BORDER, mode="wrap"),
    "antialiased Resize": single("Resize", None, None, np.array([1, 8, 8, 8]), mode="linear", antialias=1),
    "Reshape to 6 dimensions": single("Reshape", np.array([1, 8, 4, 4, 4, 4])),
    "Transpose to 6 dimensions": single("Transpose", shape=(1, 8, 4, 4, 4, 4), perm=[0, 1, 2, 4, 3, 5]),
}
"""Models that the NPU leaves to the CPU, by what the lint calls it."""
TAKEN: Mapping[str, onnx.ModelProto] = {
    **{op: single(op) for op in ("Elu", "Gelu", "HardSwish", "Mish", "Selu", "Softmax", "Softplus")},
    "GELU of Erf": gelu(),
    "Pad": single("Pad", _BORDER, mode="reflect"),
    "Resize": single("Resize", None, None, np.array([1, 8, 32, 32]), mode="cubic"),
    "Reshape to 5 dimensions": single("Reshape", np.array([1, 8, 16, 4, 4])),
}
"""Models that it takes whole."""
