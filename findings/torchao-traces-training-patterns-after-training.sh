#!/usr/bin/env bash
# torchao 0.18.0 with torch 2.13.0 and executorch 1.5.1's quantizer.
#
# convert_pt2e() looks for convolutions with batch norms that were fused for quantization in training. It does so for a
# model that was quantized after training, too, where none can be, if a single norm follows no convolution. The search
# traces 96 patterns, each with torch.export in strict mode, whatever the model's size.
#
# Seen: 0 traces and 0.03 CPU seconds for a convolution, 96 traces and 16 CPU seconds for a norm and a convolution.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchao==0.18.0 executorch==1.5.1 \
  numpy==2.4.6
"$folder/venv/bin/python" - 2> "$folder/log" <<'PYTHON'
import time
from importlib.metadata import version

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

print(f"torch {version('torch')}, torchao {version('torchao')}, executorch {version('executorch')}")
example = (torch.randn(1, 3, 8, 8),)
export, traces = torch.export.export, []


def counted(*args, **options):
    traces.append(1)
    return export(*args, **options)


torch.export.export = counted


def cost(*layers: nn.Module) -> tuple[int, float]:
    """How often convert_pt2e traces something, and its CPU seconds."""
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(export(nn.Sequential(*layers).eval(), example).module(), quantizer)
    prepared(*example)
    traces.clear()
    start = time.process_time()
    convert_pt2e(prepared)
    return len(traces), time.process_time() - start


cost(nn.Conv2d(3, 4, 3))  # imports
without, with_norm = cost(nn.Conv2d(3, 4, 3)), cost(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))
print(f"a convolution: {without[0]} traces, {without[1]:.2f} s; behind a norm: {with_norm[0]} traces, {with_norm[1]:.2f} s")
assert without[0] == 0, "patterns are traced without a norm, too"
assert with_norm[0] == 96, "another number of patterns is traced now"
PYTHON
