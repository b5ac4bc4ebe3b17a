#!/usr/bin/env bash
# onnxruntime-qnn 2.7.0 with onnxruntime 1.31.1, on Linux x86-64.
#
# The HTP compiler compiles an ELU of float32 when it is told the chip's model (soc_model), not with the architecture
# (htp_arch) alone; and what it was told of the chip stays in force for the rest of the process.
#
# Seen: architecture alone: QNN_COMMON_ERROR_MEM_ALLOC; with the model: compiles; the architecture alone once more, in
# the process that has been told the model: compiles.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnxruntime-qnn==2.7.0 onnx==1.23.2
cat > "$folder/compile.py" <<'PYTHON'
import sys

import onnxruntime as ort
import onnxruntime_qnn as qnn
from onnx import TensorProto, helper

shape = [1, 8, 16, 16]
graph = helper.make_graph(
    [helper.make_node("Elu", ["x"], ["y"])],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
ort.register_execution_provider_library(qnn.get_ep_name(), qnn.get_library_path())
devices = [device for device in ort.get_ep_devices() if device.ep_name == qnn.get_ep_name()]
for told in sys.argv[1:]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    settings = {"backend_path": qnn.get_qnn_htp_path(), "htp_arch": "75"}
    if told == "model":
        settings["soc_model"] = "57"
    options.add_provider_for_devices(devices[:1], settings)
    try:
        ort.InferenceSession(model, options)
        print("compiles")
    except Exception as error:
        print("MEM_ALLOC" if "QNN_COMMON_ERROR_MEM_ALLOC" in str(error) else f"another error: {error}")
PYTHON
compile() { "$folder/venv/bin/python" "$folder/compile.py" "$@" 2> /dev/null | grep -v LIBNATIVE | paste -sd ' '; }
found="$(compile architecture); $(compile model architecture)"
echo "$found"
[ "$found" = "MEM_ALLOC; compiles compiles" ]
