"""A model that was quantized in training, in the form in which ONNX Runtime computes it in integers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.generic]

_WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
_LARGEST = 2**30
"""Beyond it a bias stays in floating point: sums are added to it in 32 bits."""
_SIGNED_TO_UNSIGNED = 128


def compute_in_integers(model: onnx.ModelProto) -> None:
    """Write activations as unsigned integers and biases as 32-bit ones, in place.

    Activations are the same numbers, 128 higher: ONNX Runtime 1.31 turns only some of the signed ones itself, and does
    not fuse an operator between the two kinds.

    Args:
        model: A model with pairs of quantize and dequantize operators, as torch exports it.
    """
    _unsign(model.graph)
    _round_biases(model.graph)
    read = {name for node in model.graph.node for name in node.input}
    for each in [each for each in model.graph.initializer if each.name not in read]:
        model.graph.initializer.remove(each)


def _unsign(graph: onnx.GraphProto) -> None:
    constants = {each.name: each for each in graph.initializer}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    kept = {output.name for output in graph.output}
    unsigned: dict[str, str] = {}
    for node in graph.node:
        pair = [node, *readers[node.output[0]]]
        if node.op_type != "QuantizeLinear" or kept & set(node.output):
            continue
        points = {each.input[2] if len(each.input) > 2 else "" for each in pair}
        if len(points) != 1 or any(each.op_type != "DequantizeLinear" for each in pair[1:]):
            continue
        (name,) = points
        point = numpy_helper.to_array(constants[name]) if name in constants else None
        if point is None or point.dtype != np.int8:
            continue
        if name not in unsigned:
            unsigned[name] = f"{name}_unsigned"
            moved = (point.astype(np.int16) + _SIGNED_TO_UNSIGNED).astype(np.uint8)
            graph.initializer.append(numpy_helper.from_array(moved, unsigned[name]))
        for each in pair:
            each.input[2] = unsigned[name]
    del graph.value_info[:]  # it names the types of before


def _round_biases(graph: onnx.GraphProto) -> None:
    """Round the float32 biases of operators between quantized inputs and weights.

    The step is that of the operator's sums: the input's scale times the weight's, for each output channel. It is
    hundreds of times finer than that of the output.
    """
    made = {name: node for node in graph.node for name in node.output}
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in list(graph.node):
        nodes.append(node)
        if node.op_type not in _WITH_BIAS or len(node.input) < 3 or node.input[2] not in constants:
            continue
        scale, scales = (_scale(made.get(name), constants) for name in node.input[:2])
        if scale is None or scales is None:
            continue
        step = np.asarray(scale, np.float32) * np.asarray(scales, np.float32)
        rounded = np.rint(constants[node.input[2]] / step)
        if np.abs(rounded).max(initial=0) < _LARGEST:
            bias = _dequantized(graph, node.output[0], rounded.astype(np.int32), step)
            nodes.insert(-1, bias)
            node.input[2] = bias.output[0]
    whole = onnx.GraphProto(node=nodes)
    del graph.node[:]
    graph.node.extend(whole.node)


def _scale(node: onnx.NodeProto | None, constants: dict[str, Array]) -> Array | None:
    """Return the scales of the values that a node dequantizes; None where it does something else."""
    return constants.get(node.input[1]) if node is not None and node.op_type == "DequantizeLinear" else None


def _dequantized(graph: onnx.GraphProto, name: str, values: Array, step: Array) -> onnx.NodeProto:
    names = [f"{name}_bias_{part}" for part in ("int32", "scale", "zero_point")]
    steps = np.broadcast_to(step.ravel(), values.shape).astype(np.float32)
    for each, array in zip(names, (values, steps, np.zeros_like(values)), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), each))
    return helper.make_node("DequantizeLinear", names, [f"{name}_bias"], axis=0)
