"""A session of ONNX Runtime whose 8-bit products do not saturate."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto

if TYPE_CHECKING:
    from pathlib import Path

_PRECISE = "session.x64quantprecision"
_FATAL = 4
_PROVIDERS = ["CPUExecutionProvider"]


def precise_session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    """Load a model so that it computes the same on every processor.

    Without VNNI, x86 adds 8-bit products in 16 bits, where they saturate, unless weights are turned to unsigned ones
    as the model is loaded. ONNX Runtime 1.31 turns a weight or zero point that two operators read twice, and refuses
    the second: such a model is loaded with a weight for each.

    Raises:
        Exception: ONNX Runtime does not load it; the class is one of its own dozen.
    """
    options.add_session_config_entry(_PRECISE, "1")
    level = options.log_severity_level
    options.log_severity_level = _FATAL  # what fails is raised as well
    try:
        return ort.InferenceSession(path, options, providers=_PROVIDERS)
    except Exception as error:
        if "existing tensor" not in str(error):
            raise
    finally:
        options.log_severity_level = level
    return ort.InferenceSession(unshared(onnx.load(path)).SerializeToString(), options, providers=_PROVIDERS)


def unshared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every operator that reads a signed 8-bit weight a weight of its own, in place; return the model."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8}
    widening: dict[str, NodeProto] = {}  # operators that make floating point of a weight, by what they make
    read: set[str] = set()
    numbers = count()
    nodes: list[NodeProto] = []

    def copy_of(weight: str) -> str:
        copied = model.graph.initializer.add()
        copied.CopyFrom(weights[weight])
        name = copied.name = f"{weight}/{next(numbers)}"
        weights[name] = copied
        return name

    def own(name: str) -> str:
        """Return what the next reader of ``name`` reads: itself the first time, and a copy after."""
        if name not in read:
            read.add(name)
            return name
        if name in weights:
            return copy_of(name)
        node = NodeProto()
        node.CopyFrom(widening[name])
        output = f"{name}/{next(numbers)}"
        node.name, node.output[0] = "", output
        node.input[:] = [copy_of(each) if each in weights else each for each in node.input]  # zero points as well
        nodes.append(node)
        return output

    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in weights or name in widening:
                node.input[place] = own(name)
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            widening[node.output[0]] = node
        nodes.append(node)
    whole = onnx.GraphProto(node=nodes)
    del model.graph.node[:]
    model.graph.node.extend(whole.node)
    return model
