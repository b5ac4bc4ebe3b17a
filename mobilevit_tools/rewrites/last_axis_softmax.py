"""Softmax over another axis as one over the last.

Softmax acts on each line of an axis alone, so it commutes with transposing that axis to the end and back. XNNPACK has
it for the last axis only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.rewrites.functions import Function, Replacement, Run


def _softmax(_: Run, x: Tensor, dim: int) -> object:
    if x.dim() == 0 or dim % x.dim() == x.dim() - 1:
        return NotImplemented
    return x.transpose(dim, -1).softmax(dim=-1).transpose(dim, -1)


def _functional(run: Run, x: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> object:
    return NotImplemented if dim is None or dtype is not None else _softmax(run, x, dim)


REPLACEMENTS: Mapping[Function, Replacement] = {
    Tensor.softmax: _softmax,
    torch.softmax: _softmax,
    F.softmax: _functional,
}
