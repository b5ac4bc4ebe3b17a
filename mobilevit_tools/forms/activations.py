"""Activations in elementwise operators."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def tanh_gelu(x: Tensor, *, approximate: str = "none") -> Any:
    """Write GELU's tanh approximation out; converters that know one GELU only take it for the exact one.

    It is x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    """
    if approximate != "tanh":
        return NotImplemented
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """Write PReLU as relu(x) - w relu(-x), with one w, or one for each channel of axis 1."""
    slope = weight if weight.numel() == 1 or x.dim() < 3 else weight.reshape(-1, *[1] * (x.dim() - 2))
    return torch.relu(x) - slope * torch.relu(-x)
