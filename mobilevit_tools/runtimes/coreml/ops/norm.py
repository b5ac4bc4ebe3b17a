"""Normalisations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import Ints, axes_of, operator


@operator("batch_norm")
def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)


@operator("instance_norm")
def _instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    flat = x.reshape(*x.shape[:2], -1)
    normal = F.layer_norm(flat, flat.shape[2:], eps=epsilon)
    if gamma is not None:
        normal = normal * gamma.reshape(-1, 1)
    if beta is not None:
        normal = normal + beta.reshape(-1, 1)
    return normal.reshape(x.shape)


@operator("layer_norm")
def _layer_norm(
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    axes = tuple(sorted(axes_of(axes, x.ndim)))
    if axes == tuple(range(axes[0], x.ndim)):
        return F.layer_norm(x, x.shape[axes[0] :], gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    normal = (x - mean) * torch.rsqrt(variance + epsilon)
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    if gamma is not None:
        normal = normal * gamma.reshape(shape)
    return normal if beta is None else normal + beta.reshape(shape)


@operator("l2_norm")
def _l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    return x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


@operator("local_response_norm")
def _local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by the squares of neighbouring channels, which Core ML looks for in the third axis from the end.

    So coremltools' tests expect of (1, 3, 2) that no value sees another: it is one channel of three by two.
    """
    if x.ndim == 3:
        return F.local_response_norm(x[None], size, alpha, beta, k)[0]
    return F.local_response_norm(x, size, alpha, beta, k)
