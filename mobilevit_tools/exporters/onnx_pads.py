"""Padding before max pooling, in a form that onnxruntime leaves where it is.

onnxruntime 1.31 moves zeros around a map into the pooling that reads it (its optimizer ``PadFusion``), where padding
counts as minus infinity: a window of negative values gets another maximum. Padding that names its axes stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

_AXES = "mvt_padded_axes"
_CONVERSIONS = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear"})
Readers = Mapping[str, Sequence[onnx.NodeProto]]
"""The nodes that read a value, by its name."""


def name_axes(model: onnx.ModelProto) -> None:
    """Let each ``Pad`` that max pooling reads name all of its axes, which changes no value; in place."""
    graph = model.graph
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    constants = {each.name: each for each in graph.initializer}
    ranks = set()
    for pad in graph.node:
        if pad.op_type != "Pad" or len(pad.input) > 3 or pad.input[1] not in constants:
            continue
        if not _is_pooled(pad.output[0], readers):
            continue
        rank = constants[pad.input[1]].dims[0] // 2
        pad.input.extend([""] * (3 - len(pad.input)))
        pad.input.append(f"{_AXES}_{rank}")
        ranks.add(rank)
    for rank in sorted(ranks):
        graph.initializer.append(numpy_helper.from_array(np.arange(rank, dtype=np.int64), f"{_AXES}_{rank}"))


def _is_pooled(value: str, readers: Readers) -> bool:
    """Tell whether max pooling reads a value, perhaps in another type."""
    return any(
        node.op_type == "MaxPool" or (node.op_type in _CONVERSIONS and _is_pooled(node.output[0], readers))
        for node in readers[value]
    )
