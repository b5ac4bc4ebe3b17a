#!/usr/bin/env bash
# onnxruntime 1.31.1, CPU, default optimizations.
#
# A Pad of zeros in front of MaxPool is moved into the pooling's own padding, which counts as minus infinity there. A
# window that holds padding and negative values has 0 as its maximum; the optimized model gives the largest negative
# value. Without optimizations the model is right. So it is, too, where Pad names the axes that it pads, all of them.
# BiT of transformers 5.24 pads with zeros in front of its first max pooling, behind a convolution without ReLU.
#
# Seen, of values between -2 and -1 in a map of 6x6: without optimizations exact, by default off by 1.579.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

print(f"onnxruntime {onnxruntime.__version__}")
values = -1 - np.random.default_rng(0).random((1, 2, 6, 6), dtype=np.float32)
padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
expected = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2].max((-1, -2))


def difference(level: onnxruntime.GraphOptimizationLevel, *, axes: bool) -> float:
    """How far the pooled map is from the maximum of each padded window."""
    constants = [numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads")]
    inputs = ["x", "pads"]
    if axes:
        constants.append(numpy_helper.from_array(np.arange(4), "axes"))
        inputs += ["", "axes"]
    nodes = [
        helper.make_node("Pad", inputs, ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 0, 0]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    graph = helper.make_graph(nodes, "pooled", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return float(np.abs(session.run(None, {"x": values})[0] - expected).max())


levels = onnxruntime.GraphOptimizationLevel
plain = difference(levels.ORT_DISABLE_ALL, axes=False)
optimized = difference(levels.ORT_ENABLE_ALL, axes=False)
named = difference(levels.ORT_ENABLE_ALL, axes=True)
print(f"without optimizations off by {plain:.3f}, by default by {optimized:.3f}, with named axes by {named:.3f}")
assert plain == 0, "the plain model is wrong as well"
assert optimized > 0.5, "the optimized model is right now"
assert named == 0, "naming the axes no longer helps"
PYTHON
