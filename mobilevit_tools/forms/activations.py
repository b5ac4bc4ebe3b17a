"""Activations in elementwise operators."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
_SOFTPLUS_LINE = 20
"""Where softplus is a line to float32, and torch takes it for one."""
_LEAST = 2.0**-23
"""The distance from 1 to the next float32."""
_MISH_LINE = 20.0
_STEEP = 1e38
"""The difference of two float32 that are not denormal, times this, is above 1 or infinite."""


def tanh_gelu(x: Tensor, *, approximate: str = "none") -> Any:
    """Write GELU's tanh approximation out; converters that know one GELU only take it for the exact one.

    It is x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    """
    if approximate != "tanh":
        return NotImplemented
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def whole_bounds(x: Tensor, min_val: Any = -1.0, max_val: Any = 1.0) -> Any:
    """Write a hard tanh whose bounds are integers, such as an in-place ReLU6, as a clamp between floats."""
    if not x.is_floating_point() or (isinstance(min_val, float) and isinstance(max_val, float)):
        return NotImplemented
    return torch.clamp(x, float(min_val), float(max_val))


def hard_sigmoid(x: Tensor) -> Tensor:
    """Write hardsigmoid as clamp(x + 3, 0, 6) / 6 with real numbers; torch's own decomposition has whole ones."""
    return torch.clamp(x + 3.0, 0.0, 6.0) / 6.0


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """Write PReLU as relu(x) - w relu(-x), with one w, or one for each channel of axis 1."""
    slope = weight if weight.numel() == 1 or x.dim() < 3 else weight.reshape(-1, *[1] * (x.dim() - 2))
    return torch.relu(x) - slope * torch.relu(-x)


def limited_softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Any:
    """Write softplus as its line x where beta x is above a threshold that shows; above 20 both are the same."""
    if threshold >= _SOFTPLUS_LINE:
        return NotImplemented
    return torch.where(x * beta > threshold, x, F.softplus(x, beta, _SOFTPLUS_LINE))


def elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """Write ELU, and SELU with its two factors, as scale (relu(x) + alpha (exp(-relu(-x) input_scale) - 1))."""
    return scale * (torch.relu(x) + alpha * torch.expm1(-torch.relu(-x) * input_scale))


def continuous_elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Write CELU as relu(x) + alpha (exp(-relu(-x) / alpha) - 1)."""
    return torch.relu(x) + alpha * torch.expm1(-torch.relu(-x) / alpha)


def sigmoid_gelu(x: Tensor, *, approximate: str = "none") -> Any:
    """Write GELU's tanh approximation as x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)).

    It is the same in fewer steps, since (1 + tanh(u)) / 2 = sigmoid(2 u).
    """
    if approximate != "tanh":
        return NotImplemented
    factor = 2 * math.sqrt(2 / math.pi)
    return x * torch.sigmoid(x * (x * x * (factor * 0.044715) + factor))


def exponential_elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """Write ELU as relu(x) + alpha (exp(x - relu(x)) - 1), where converters know no expm1.

    x - relu(x) is min(x, 0) without rounding. Beside zero it loses what the 1 rounds away, 6e-8 at most.
    """
    positive = torch.relu(x)
    below = x - positive
    exponential = torch.exp(below if input_scale == 1 else below * input_scale)
    found = positive + (exponential - 1.0 if alpha == 1 else (exponential - 1.0) * float(alpha))
    return found if scale == 1 else found * scale


def exponential_selu(x: Tensor) -> Tensor:
    """Write SELU (arXiv 1706.02515) as ELU with its two factors, as by :func:`exponential_elu`."""
    return exponential_elu(x, _SELU_ALPHA, _SELU_SCALE)


def exponential_celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Write CELU as ELU with a factor in front of its input, as by :func:`exponential_elu`."""
    return exponential_elu(x, alpha, 1, 1 / alpha)


def kahan_softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Any:
    """Write softplus as relu(x) + log(1 + exp(-beta |x|)) / beta, where converters know no log1p."""
    if threshold < _SOFTPLUS_LINE:
        return NotImplemented
    scaled = x if beta == 1 else x * float(beta)
    tail = _log_of_one_and(torch.exp(-torch.abs(scaled)))
    return torch.relu(x) + (tail if beta == 1 else tail / float(beta))


def kahan_log_sigmoid(x: Tensor) -> Tensor:
    """Write the logarithm of a sigmoid as -relu(-x) - log(1 + exp(-|x|))."""
    return -torch.relu(-x) - _log_of_one_and(torch.exp(-torch.abs(x)))


def _log_of_one_and(x: Tensor) -> Tensor:
    """Return log(1 + x) of values from 0 to 1 as x log(u) / (u - 1) with u = 1 + x.

    What rounds u away cancels in the quotient (W. Kahan; theorem 4 of D. Goldberg, "What every computer scientist
    should know about floating-point arithmetic", ACM Computing Surveys 23, 1991). Below the least u the quotient is 1.
    """
    u = torch.clamp(x + 1.0, min=1 + _LEAST)
    return x * (torch.log(u) / (u - 1.0))


def exponential_mish(x: Tensor) -> Tensor:
    """Write mish (arXiv 1908.08681) as x n / (n + 2) with n = y (y + 2) and y = exp(x).

    That is x tanh(log(1 + y)). Above 20 the quotient is 1 to float64, and no power may overflow.
    """
    y = torch.exp(torch.clamp(x, max=_MISH_LINE))
    n = y * (y + 2.0)
    return x * (n / (n + 2.0))


def soft_shrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """Write softshrink as what a clamp takes away."""
    return x - torch.clamp(x, -float(lambd), float(lambd))


def hard_shrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """Write hardshrink without a comparison: the factor is 1 for any float32 that is above the bound, and 0 below."""
    return x * torch.clamp((torch.abs(x) - float(lambd)) * _STEEP, 0.0, 1.0)
