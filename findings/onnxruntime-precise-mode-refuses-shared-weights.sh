#!/usr/bin/env bash
# ONNX Runtime 1.31.1, x86-64 without VNNI.
#
# There, 8-bit products add up in 16 bits and saturate, unless the session option `session.x64quantprecision` is on. With
# it on, a valid model in which two linear layers read one int8 weight does not load: the weight is turned to unsigned
# once for each reader, under one name. Without the option it loads, and its answer is half of the right one.
#
# Seen: default 1.04448e+06 (right: 2072640.0); precise: "Attempt to replace the existing tensor".
set -euo pipefail
if grep -qw "avx512_vnni\|avx_vnni" /proc/cpuinfo; then
  echo "This processor has VNNI, where the option does nothing: run it on one that has not." >&2
  exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

width = 64
values = {
    "unit": np.float32(1),
    "step": np.float32(width * 255),
    "zero": np.uint8(0),
    "zero8": np.int8(0),
    "weight": np.full((width, 8), 127, np.int8),
}
nodes = [
    helper.make_node("QuantizeLinear", ["x", "unit", "zero"], ["xq"]),
    helper.make_node("DequantizeLinear", ["xq", "unit", "zero"], ["xd"]),
    helper.make_node("DequantizeLinear", ["weight", "unit", "zero8"], ["wd"]),
]
for name in "ab":
    nodes += [
        helper.make_node("MatMul", ["xd", "wd"], [f"{name}f"]),
        helper.make_node("QuantizeLinear", [f"{name}f", "step", "zero"], [f"{name}q"]),
        helper.make_node("DequantizeLinear", [f"{name}q", "step", "zero"], [name]),
    ]
nodes.append(helper.make_node("Max", ["a", "b"], ["y"]))
graph = helper.make_graph(
    nodes,
    "shared",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
    [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)


def answer(precise: bool) -> str:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1" if precise else "0")
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return str(error)
    return str(session.run(None, {"x": np.full((1, width), 255, np.float32)})[0][0, 0])


default, precise = answer(False), answer(True)
print(f"onnxruntime {ort.__version__}; right: {float(width * 255 * 127)}; default: {default}; precise: {precise[-60:]}")
assert float(default) != width * 255 * 127, "it no longer saturates"
assert "Attempt to replace the existing tensor" in precise, "it loads now"
PYTHON
