"""Stacked matrix products with a single batch dimension.

A product of (B, h, n, k) and (B, h, k, m) is B h independent products: (B h, n, k) times (B h, k, m), which XNNPACK
takes over. Left to the framework's decomposition it comes with expands that XNNPACK does not take.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mobilevit_tools.rewrites.functions import Function, Replacement, Run


def _matmul(_: Run, left: Tensor, right: Tensor) -> object:
    if left.dim() != right.dim() or left.dim() < 3 or left.shape[:-2] != right.shape[:-2]:
        return NotImplemented
    if left.dim() == 3:
        return torch.bmm(left, right)
    product = torch.bmm(left.flatten(0, -3), right.flatten(0, -3))
    return product.reshape(*left.shape[:-1], right.shape[-1])


REPLACEMENTS: Mapping[Function, Replacement] = {
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
}
