"""Deviations and extremes over all values, and norms with statistics of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mobilevit_tools.forms.means import Axes, axes_of, remaining
from mobilevit_tools.forms.views import has_sizes


def corrected_variance(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """Write a variance as the mean of squares about the mean, times n / (n - correction)."""
    axes = list(range(x.dim())) if not dim else list(dim)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    differences = x - x.mean(axes, keepdim=True)
    mean = (differences * differences).mean(axes, keepdim=keepdim)
    return mean * (count / (count - (1 if correction is None else correction)))


def variance_of_all(x: Tensor, unbiased: bool = True) -> Tensor:
    """Write the variance of all values."""
    return corrected_variance(x, correction=int(unbiased))


def deviation_of_all(x: Tensor, unbiased: bool = True) -> Tensor:
    """Write the standard deviation of all values."""
    return torch.sqrt(variance_of_all(x, unbiased))


def whole_variance(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Any:
    """Write a variance over all axes; one over some stays."""
    return NotImplemented if dim else corrected_variance(x, dim, correction=correction, keepdim=keepdim)


def whole_deviation(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Any:
    """Write a standard deviation over all axes; one over some stays."""
    return NotImplemented if dim else torch.sqrt(corrected_variance(x, dim, correction=correction, keepdim=keepdim))


def variance_and_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Write a variance and the mean beside it, each by itself."""
    axes = list(range(x.dim())) if not dim else list(dim)
    return corrected_variance(x, dim, correction=correction, keepdim=keepdim), x.mean(axes, keepdim=keepdim)


def deviation_and_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Write a standard deviation and the mean beside it, each by itself."""
    variance, mean = variance_and_mean(x, dim, correction=correction, keepdim=keepdim)
    return torch.sqrt(variance), mean


def along_one_axis(operator: Callable[..., Any], most_axes: int) -> Callable[..., Any]:
    """Return the form of a reduction of more than ``most_axes`` axes: over a single one, merged of those."""

    def form(x: Tensor, dim: Axes = None, keepdim: bool = False, **options: Any) -> Any:
        if x.dim() <= most_axes or not has_sizes(x):
            return NotImplemented
        reduced = axes_of(x, dim)
        kept = [axis for axis in range(x.dim()) if axis not in reduced]
        rows = math.prod(x.shape[axis] for axis in kept)
        columns = math.prod(x.shape[axis] for axis in reduced)
        result = operator(x.permute([*kept, *reduced]).reshape(rows, columns), [1], False, **options)
        return result.reshape(remaining(x, reduced, keepdim=keepdim))

    return form


def flat_argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Write the place of the largest of all values as one over a single axis."""
    if dim is not None:
        return NotImplemented
    return x.flatten().argmax(0).reshape([1] * x.dim() if keepdim else [])


def flat_argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Write the place of the smallest of all values as one over a single axis."""
    if dim is not None:
        return NotImplemented
    return x.flatten().argmin(0).reshape([1] * x.dim() if keepdim else [])


def stored_instance_norm(
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
    """Write an instance norm that uses its running statistics as the batch norm that it is then."""
    if use_input_stats or running_mean is None or running_var is None:
        return NotImplemented
    return torch.batch_norm(x, weight, bias, running_mean, running_var, False, momentum, eps, cudnn_enabled)


def inference_norm(
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
    """Write a batch norm with running statistics as the operator that can do nothing else."""
    if training or running_mean is None or running_var is None:
        return NotImplemented
    found, *_ = torch.ops.aten._native_batch_norm_legit_no_training(
        x, weight, bias, running_mean, running_var, momentum, eps
    )
    return found
