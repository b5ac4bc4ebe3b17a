#!/usr/bin/env bash
# torch 2.13.0, CPU.
#
# Antialiased bilinear resizing of a map that is one pixel wide gives another result in contiguous memory than in
# channels-last memory, and than the same map repeated to four columns, whose columns are all alike. The values end up in
# other rows: their sum is right. Bicubic does the same. A map that is one pixel high is right.
#
# Seen, of values between 0 and 1: contiguous off by 0.481, channels last by 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch.nn.functional import interpolate

print(f"torch {torch.__version__}")
generator = torch.Generator().manual_seed(0)
column = torch.rand(1, 3, 16, 1, generator=generator)


def off(x: torch.Tensor, size: tuple[int, int], mode: str) -> float:
    """How far resizing ``x`` is from resizing four of it side by side."""
    along = 3 if size[1] == 1 else 2
    wide = x.repeat_interleave(4, dim=along)
    wider = (size[0], 4) if along == 3 else (4, size[1])
    expected = interpolate(wide.contiguous(), wider, mode=mode, antialias=True).narrow(along, 0, 1)
    return float((interpolate(x, size, mode=mode, antialias=True) - expected).abs().max())


for mode in ("bilinear", "bicubic"):
    plain = off(column.contiguous(), (7, 1), mode)
    last = off(column.contiguous(memory_format=torch.channels_last), (7, 1), mode)
    row = off(column.transpose(2, 3).contiguous(), (1, 7), mode)
    print(f"{mode}: contiguous off by {plain:.3f}, channels last by {last:.3f}; a row by {row:.3f}")
    assert plain > 0.1, "a column is right now"
    assert last < 1e-5, "channels last is wrong as well"
    assert row < 1e-5, "a row is wrong as well"
PYTHON
