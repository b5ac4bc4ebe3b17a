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
from torch.nn import functional as F


def centred(x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``x`` less its mean, in two steps."""
    once = x - mean(x)
    return once - mean(once)


def _over_maps(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3), keepdim=True)


def _normed(x: Tensor, eps: float, mean: Callable[[Tensor], Tensor] = _over_maps) -> Tensor:
    """Normalise what ``mean`` averages: by default the last two of four axes."""
    differences = centred(x, mean)
    return differences / torch.sqrt(mean(differences * differences) + eps)


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


def layer_norm_products(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Write a layer norm over the last axis with its means as products with a vector of 1/n, others as over maps."""
    if len(normalized_shape) != 1 or type(x.shape[-1]) is not int:
        return layer_norm(x, normalized_shape, weight, bias, eps)
    mean = torch.full((1, x.shape[-1]), 1 / x.shape[-1], dtype=x.dtype)
    normed = _normed(x, eps, lambda values: F.linear(values, mean))
    scaled = normed if weight is None else normed * weight
    return scaled if bias is None else scaled + bias


def layer_norm_of_channels(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise the channels of each pixel of a map (B, C, H, W), with the means as convolutions of one pixel."""
    mean = torch.full((1, x.shape[1], 1, 1), 1 / x.shape[1], dtype=x.dtype)
    return _with_affine(_normed(x, eps, lambda values: F.conv2d(values, mean)), weight, bias)


def pooled_group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Write a group norm of a map as pooling of each channel and a convolution that averages each group's channels.

    Both keep the map in the order in memory that convolutions have it in.
    """
    if x.dim() != 4 or type(x.shape[1]) is not int:
        return group_norm(x, num_groups, weight, bias, eps)
    channels = x.shape[1]
    size = channels // num_groups
    groups = torch.arange(channels) // size
    averaging = ((groups[:, None] == groups[None, :]).to(x.dtype) / size).reshape(channels, channels, 1, 1)
    if num_groups == 1:
        averaging = torch.full((1, channels, 1, 1), 1 / channels, dtype=x.dtype)

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(_over_maps(values), averaging)

    return _with_affine(_normed(x, eps, mean), weight, bias)


def stored_batch_norm(
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
    """Write a batch norm with running statistics of anything but a map as the scale and the shift that it is."""
    if training or running_mean is None or running_var is None:
        return batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)
    if x.dim() == 4:
        return NotImplemented
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    sides = [-1, *[1] * (x.dim() - 2)]
    return x * scale.reshape(sides) + shift.reshape(sides)


def root_mean_square_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Any:
    """Write a norm by the root of the mean of squares over the last axis with that mean as a product."""
    if len(normalized_shape) != 1 or type(x.shape[-1]) is not int or eps is None:
        return NotImplemented
    mean = torch.full((1, x.shape[-1]), 1 / x.shape[-1], dtype=x.dtype)
    normed = x / torch.sqrt(F.linear(x * x, mean) + eps)
    return normed if weight is None else normed * weight
