"""Compile one ONNX model for a Qualcomm NPU and simulate it, in a process that ends afterwards.

The compiler's trace tells which operators the NPU takes, in how many graphs, and why it leaves the others to the CPU.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import onnxruntime_qnn as qnn

from mobilevit_tools.devices.protocol import read_tensor, write_tensor
from mobilevit_tools.errors import first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ERRORS_ONLY = 3
_TRACE = "qnn_op_trace.json"


def open_session(model: Path, folder: Path, soc_model: str, htp_arch: str, threads: int) -> ort.InferenceSession:
    """Return a session with what the simulated NPU takes on that, and the trace of the compiler in ``folder``."""
    ort.register_execution_provider_library(qnn.get_ep_name(), qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == qnn.get_ep_name()]
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    # The NPU takes no free sizes; a free batch is of one image, as on every other device.
    batch = onnx.load(model, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if batch:
        options.add_free_dimension_override_by_name(batch, 1)
    options.add_provider_for_devices(
        devices[:1],
        {
            "backend_path": qnn.get_qnn_htp_path(),
            "soc_model": soc_model,
            "htp_arch": htp_arch,
            "enable_framework_op_trace": "1",
            "framework_op_trace_dir": str(folder),
        },
    )
    return ort.InferenceSession(model, options)


def partitioning(trace: Path, model: Path) -> dict[str, Any]:
    """Read the trace; without one the NPU takes nothing."""
    if not trace.exists():
        graph = onnx.load(model, load_external_data=False).graph
        return {"partitions": 0, "taken": {}, "outside": Counter(node.op_type for node in graph.node), "reasons": {}}
    told = json.loads(trace.read_text(encoding="utf-8"))
    graphs = told["subgraph_traces"]
    outside = told["unsupported_nodes"]
    return {
        "partitions": len(graphs),
        "taken": _counted(each["dst_qnn_op_type"] for graph in graphs for each in graph["op_mappings"]),
        "outside": _counted(each["op_type"] for each in outside),
        "reasons": {each["op_type"]: " ".join(each["reason"].split()) for each in reversed(outside)},
    }


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _run(session: ort.InferenceSession, images: NDArray[Any]) -> NDArray[Any]:
    (given,) = session.get_inputs()
    size = given.shape[0] if isinstance(given.shape[0], int) else 1
    output = session.get_outputs()[0].name
    batches = [np.ascontiguousarray(images[start : start + size]) for start in range(0, len(images), size)]
    return np.concatenate([session.run([output], {given.name: batch})[0] for batch in batches])


def main(arguments: Sequence[str]) -> None:
    """Take the files of the model, its input, the output and the report, the chip's two numbers, and the threads."""
    model, given, output, report = map(Path, arguments[:4])
    soc_model, htp_arch, threads = arguments[4:]
    try:
        session = open_session(model, report.parent, soc_model, htp_arch, int(threads))
        found = _run(session, read_tensor(given))
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        told: dict[str, Any] = {"refused": first_line(error)}
    else:
        write_tensor(output, found)
        told = {"partitioning": partitioning(report.parent / _TRACE, model)}
    report.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
