"""Attention in products and softmaxes of fewer axes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

FAR = -1e30
"""What a mask adds where nothing is to be seen: its exponential is zero beside any other, as that of infinity is, and
sums with it stay finite."""


def flat_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """Write a softmax over another axis as one over the last, and one over the last of four as of three.

    Converters that keep four-dimensional maps in another order in memory may take another axis for the last.
    """
    if x.dim() < 2:
        return NotImplemented
    if dim % x.dim() != x.dim() - 1:
        turned = x.transpose(dim, -1)
        written = flat_softmax(turned, -1, dtype)
        return (torch.softmax(turned, -1, dtype) if written is NotImplemented else written).transpose(dim, -1)
    if x.dim() != 4:
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

    Heads that share keys and values are stacked as further rows of one matrix.

    A framework's own decomposition guards against rows that are masked altogether, which :func:`hides_rows` finds; this
    form does not.
    """
    if dropout_p or not _shares(query, key, value, grouped=enable_gqa):
        return NotImplemented
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    columns, values = (each.reshape(-1, *each.shape[-2:]) for each in (key, value))
    rows = query.reshape(columns.shape[0], -1, query.shape[-1])
    scores = torch.bmm(rows * factor, columns.transpose(1, 2))
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    if attn_mask is not None:
        by_head = scores.reshape(-1, query.shape[-2], key.shape[-2])
        scores = _masked(by_head, query.shape[:-2], attn_mask).reshape(scores.shape)
    return torch.bmm(torch.softmax(scores, dim=-1), values).reshape(*query.shape[:-1], value.shape[-1])


def _shares(query: Tensor, key: Tensor, value: Tensor, *, grouped: bool) -> bool:
    """Tell whether keys and values are of the same heads, of which each serves as many of the queries'."""
    lead, own = query.shape[:-2], key.shape[:-2]
    if own != value.shape[:-2] or len(lead) != len(own) or not lead or lead[:-1] != own[:-1]:
        return False
    return bool(own[-1] in {1, lead[-1]} or (grouped and lead[-1] % own[-1] == 0))


def unmasked_products(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *more: Any, **options: Any
) -> Any:
    """Write attention as by :func:`scaled_products` where it has no mask."""
    return NotImplemented if attn_mask is not None else scaled_products(query, key, value, None, *more, **options)


def hides_rows(mask: Tensor) -> bool:
    """Tell whether a mask (..., tokens, tokens) leaves a token nothing to see; attention gives it zeros."""
    seen = mask if mask.dtype == torch.bool else mask > -math.inf
    return not bool(seen.any(dim=-1).all())


def _masked(scores: Tensor, lead: torch.Size, mask: Tensor) -> Tensor:
    """Add a mask of any shape that fits ``lead`` and the tokens to stacked scores."""
    far = max(FAR, torch.finfo(scores.dtype).min / 2)
    added = torch.where(mask, 0.0, far).to(scores.dtype) if mask.dtype == torch.bool else mask.clamp_min(far)
    sides = [1] * (len(lead) + 2 - added.dim()) + [*added.shape]
    if all(side == 1 for side in sides[:-2]):
        return scores + added.reshape(1, *sides[-2:])
    if sides[:-2] == [*lead]:
        return scores + added.reshape(-1, *sides[-2:])
    split = scores.reshape(*lead, *scores.shape[1:])
    return (split + added.reshape(sides)).reshape(scores.shape)
