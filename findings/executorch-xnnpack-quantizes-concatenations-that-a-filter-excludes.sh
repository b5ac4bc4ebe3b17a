#!/usr/bin/env bash
# executorch 1.5.1, XNNPACK's quantizer, with torchao 0.18.0.
#
# A filter decides which operators are quantized. Concatenations are quantized whatever it says: the annotator of "cat"
# takes the filter as an argument and does not call it. Every other annotator does.
#
# Seen, with a filter that excludes everything: ['aten.cat.default'] annotated; addition and linear layer are not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 executorch==1.5.1 torchao==0.18.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import importlib.metadata

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.cat([x, x + 1]))


print(f"executorch {importlib.metadata.version('executorch')}, torchao {importlib.metadata.version('torchao')}")
program = torch.export.export(Net().eval(), (torch.ones(2, 4),)).module()
quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config())
quantizer.set_filter_function(lambda node: False)
quantizer.annotate(program)
annotated = [
    str(node.target)
    for node in program.graph.nodes
    if node.op == "call_function"
    and any(getattr(value, "_annotated", False) and value.input_qspec_map for value in node.meta.values())
]
print(f"annotated although a filter excludes everything: {annotated}")
assert annotated == ["aten.cat.default"], "the filter is asked about concatenations now"
PYTHON
