"""A class map in ONNX is resized with the channels last, where ONNX Runtime is fastest at both resizing and comparing.

It resizes channel by channel otherwise, and then reads all channels of a pixel from as many places. The values are the
same.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_PREFIX = "mvt_class_map_"
_ORDER = (0, 2, 3, 1)


def resize_channels_last(model: onnx.ModelProto) -> int:
    """Let linear resizes of maps (B, classes, H, W) that only an ArgMax over classes reads have their channels last.

    Returns:
        How many there were.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for name in (*(each for node in graph.node for each in node.input), *(value.name for value in graph.output)):
        readers[name] = readers.get(name, 0) + 1
    found = 0
    for largest in [node for node in graph.node if node.op_type == "ArgMax"]:
        resize = made.get(largest.input[0])
        if (
            resize is None
            or readers[resize.output[0]] != 1
            or not _is_plain(resize)
            or _attribute(largest, "axis") != 1
        ):
            continue
        turned, order = f"{_PREFIX}input_{found}", f"{_PREFIX}order_{found}"
        graph.initializer.append(numpy_helper.from_array(np.array(_ORDER, np.int64), order))
        before = [helper.make_node("Transpose", [resize.input[0]], [turned], name=turned, perm=_ORDER)]
        resize.input[0] = turned
        for place in (2, 3):  # factors, or sizes
            if len(resize.input) > place and resize.input[place]:
                moved = f"{_PREFIX}{place}_{found}"
                before.append(helper.make_node("Gather", [resize.input[place], order], [moved], name=moved))
                resize.input[place] = moved
        next(each for each in largest.attribute if each.name == "axis").i = len(_ORDER) - 1
        index = list(graph.node).index(resize)
        for node in reversed(before):
            graph.node.insert(index, node)
        known = next((value for value in graph.value_info if value.name == resize.output[0]), None)
        if known is not None:
            graph.value_info.remove(known)
        found += 1
    return found


def _is_plain(node: onnx.NodeProto) -> bool:
    """Tell whether a node resizes linearly, over all axes of its input and without a region."""
    linear = _attribute(node, "mode") == b"linear" and not _attribute(node, "antialias")
    return node.op_type == "Resize" and linear and _attribute(node, "axes") is None and not (node.input[1:2] or [""])[0]


def _attribute(node: onnx.NodeProto, name: str) -> object:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)
