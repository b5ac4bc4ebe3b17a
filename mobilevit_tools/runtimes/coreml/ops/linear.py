"""Matrix products and attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import Tensors, operator


@operator("linear")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if x.dtype != weight.dtype:  # since iOS 17 integers may meet real numbers; the result's type is declared
        x, weight, bias = x.float(), weight.float(), None if bias is None else bias.float()
    return F.linear(x, weight, bias)


@operator("matmul")
def _matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    left = x.mT if transpose_x and x.ndim > 1 else x
    right = y.mT if transpose_y and y.ndim > 1 else y
    return left @ right if left.dtype == right.dtype else left.float() @ right.float()


@operator("einsum")
def _einsum(values: Tensors, equation: str) -> Tensor:
    return torch.einsum(equation, *values)


@operator("scaled_dot_product_attention")
def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask)
