"""Operators of the older neural-network format that ML Programs have no counterpart for."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from .registry import Ints, operator

CHANNELS = -3
"""The axis of channels, in (C, H, W) as in (N, C, H, W)."""


@operator("inner_product")
def _inner_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer over the channels where rows and columns are single, else over the last axis."""
    if x.ndim >= -CHANNELS and x.shape[-2:] == (1, 1):
        return F.linear(x[..., 0, 0], weight, bias)[..., None, None]
    return F.linear(x, weight, bias)


@operator("channel_affine")
def _channel_affine(x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Scale and shift by arrays of (C, H, W), any of whose sizes may be 1."""
    scaled = x if scale is None else x * scale
    return scaled if bias is None else scaled + bias


@operator("flatten_channels")
def _flatten_channels(x: Tensor) -> Tensor:
    """Put channels, rows and columns on the axis of channels."""
    return x.reshape(*x.shape[:CHANNELS], math.prod(x.shape[CHANNELS:]), 1, 1)


@operator("reshape_channels")
def _reshape_channels(x: Tensor, shape: Ints) -> Tensor:
    """Reshape channels, rows and columns; the batch stays."""
    return x.reshape(*x.shape[:CHANNELS], *shape)


@operator("global_pool")
def _global_pool(x: Tensor, mode: str) -> Tensor:
    if mode == "MAX":
        return x.amax((-2, -1), keepdim=True)
    if mode == "L2":
        return x.square().sum((-2, -1), keepdim=True).sqrt()
    return x.mean((-2, -1), keepdim=True)


@operator("fit_shape")
def _fit_shape(x: Tensor, shape: Ints) -> Tensor:
    """Give a result the shape that the model declares for it."""
    return x.reshape(shape)
