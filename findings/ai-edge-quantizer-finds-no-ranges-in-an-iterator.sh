#!/usr/bin/env bash
# ai-edge-quantizer 0.10.0, with litert-torch 0.10.0 and torch 2.13.0.
#
# Quantizer.calibrate() takes calibration data as an iterable, and goes through it more than once. Data that can be read
# only once, such as a generator that loads photos, is used up before ranges are measured: calibrate() returns no ranges
# and says nothing. quantize() fails later, and asks for the calibration that has just run.
#
# Seen: 6 ranges from a list of four samples, 0 from a generator of the same ones, then "Model quantization statistics
# values (QSVs) are required for the input recipe."
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 litert-torch==0.10.0 \
  ai-edge-quantizer==0.10.0 numpy==2.4.6
FOLDER=$folder "$folder/venv/bin/python" - 2> "$folder/log" <<'PYTHON'
import os
from importlib.metadata import version

import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.quantizer import Quantizer

print(f"ai-edge-quantizer {version('ai-edge-quantizer')}")
path = os.path.join(os.environ["FOLDER"], "model.tflite")
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(1568, 4))
litert_torch.convert(net.eval(), (torch.zeros(1, 3, 16, 16),)).export(path)
rng = np.random.default_rng(0)
samples = [{"args_0": rng.standard_normal((1, 3, 16, 16), dtype=np.float32)} for _ in range(4)]


def attempt(data) -> tuple[int, str]:
    """How many ranges calibration returns, and what the quantizer says to them."""
    quantizer = Quantizer(path)
    quantizer.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
    ranges = quantizer.calibrate({"serving_default": data})
    try:
        quantizer.quantize(ranges)
    except RuntimeError as error:
        return len(ranges), str(error)
    return len(ranges), "quantized"


listed, generated = attempt(samples), attempt(sample for sample in samples)
print(f"a list: {listed[0]} ranges, {listed[1]}; a generator: {generated[0]} ranges, {generated[1][:80]}")
assert listed[0] > 0 and listed[1] == "quantized", "a list does not calibrate either"
assert generated[0] == 0, "a generator calibrates now"
assert "required" in generated[1], "a model without ranges is quantized now"
PYTHON
