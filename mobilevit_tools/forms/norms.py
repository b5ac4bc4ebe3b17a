"""Norms as means over maps, exact where maps are flat.

A norm divides by the deviation, which is the square root of epsilon where all values are equal: the rounding of a mean
in float32 then counts some 300 times, and that of a mean of squares still more. Taking the mean of what is left and
taking that away, too, leaves no more than the rounding of the rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def centred(x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``x`` less its mean, in two steps."""
    once = x - mean(x)
    return once - mean(once)


def _over_maps(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


def _normed(groups: Tensor, eps: float) -> Tensor:
    """Normalise the last two of four axes."""
    differences = centred(groups, _over_maps)
    return differences / torch.sqrt(_over_maps(differences * differences) + eps)


def _with_affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    sides = [-1, *[1] * (x.dim() - 2)]
    scaled = x if weight is None else x * weight.reshape(sides)
    return scaled if bias is None else scaled + bias.reshape(sides)


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Write a layer norm over the last axes as means over maps of one column."""
    count = math.prod(normalized_shape)
    normed = _normed(x.reshape(1, -1, count, 1), eps).reshape(x.shape)
    scaled = normed if weight is None else normed * weight
    return scaled if bias is None else scaled + bias


def instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """Write an instance norm of (B, C, ...) as means over maps."""
    if not use_input_stats or x.dim() < 3:
        return NotImplemented
    maps = x if x.dim() == 4 else x.flatten(2).unsqueeze(-1)
    return _with_affine(_normed(maps, eps).reshape(x.shape), weight, bias)


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Write a group norm of (B, C, ...) as means over maps of a group's channels by its pixels."""
    groups = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, -1)
    return _with_affine(_normed(groups, eps).reshape(x.shape), weight, bias)


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """Write a batch norm that has no running statistics as means over maps, of all images together."""
    if not training or running_mean is not None or x.dim() < 3:
        return NotImplemented
    if x.shape[0] == 1:
        return instance_norm(x, weight, bias, None, None, True, momentum, eps, cudnn_enabled)
    turned = x.transpose(0, 1)
    normed = _normed(turned.reshape(1, *turned.shape[:2], -1), eps)
    return _with_affine(normed.reshape(turned.shape).transpose(0, 1), weight, bias)
