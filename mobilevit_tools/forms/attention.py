"""Attention in products and softmaxes of fewer axes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def flat_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """Write a softmax over the last of four axes as one over the last of three.

    Converters that keep four-dimensional maps in another order in memory may take another axis for the last.
    """
    if x.dim() != 4 or dim % 4 != 3:
        return NotImplemented
    return torch.softmax(x.reshape(-1, *x.shape[2:]), dim=-1, dtype=dtype).reshape(x.shape)


def scaled_products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Write attention as two products of stacked matrices (B x heads, tokens, channels) around a softmax.

    A framework's own decomposition guards against rows that are masked altogether; what is not masked has none.
    """
    known = query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and query.dim() > 2
    if attn_mask is not None or is_causal or dropout_p or enable_gqa or not known:
        return NotImplemented
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    rows, columns, values = (each.reshape(-1, *each.shape[-2:]) for each in (query, key, value))
    weights = torch.softmax(torch.bmm(rows * factor, columns.transpose(1, 2)), dim=-1)
    return torch.bmm(weights, values).reshape(*query.shape[:-1], value.shape[-1])
