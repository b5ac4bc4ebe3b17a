"""Arithmetic that is exact where the usual way to write it is not: beside multiples, at zero, far out.

x - floor(x / y) y is off by a whole y where x / y rounds up to an integer, as 0.9 / 0.3 does in float32. The remainder
of a truncated quotient is exact, and the others follow from it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def remainder(x: Tensor, y: Tensor | float) -> Any:
    """Write a remainder with the sign of the divisor by means of one with the sign of the dividend."""
    if not _are_real(x, y):
        return NotImplemented
    truncated = torch.fmod(x, y)
    return torch.where(_on_the_other_side(truncated, y), truncated + y, truncated)


def quotient(x: Tensor, y: Tensor | float, *, rounding_mode: str | None = None) -> Any:
    """Write a quotient that is rounded down by means of the remainder of a truncated one."""
    return floor_quotient(x, y) if rounding_mode == "floor" else NotImplemented


def floor_quotient(x: Tensor, y: Tensor | float) -> Any:
    """Write a quotient that is rounded down by means of the remainder of a truncated one."""
    if not _are_real(x, y):
        return NotImplemented
    truncated = torch.fmod(x, y)
    whole = torch.round((x - truncated) / y)  # an integer, but for rounding
    return torch.where(_on_the_other_side(truncated, y), whole - 1, whole)


def log_sigmoid(x: Tensor) -> Tensor:
    """Write log(sigmoid(x)) without a sigmoid, which becomes zero long before its logarithm ends."""
    return torch.clamp_max(x, 0.0) - F.softplus(-torch.abs(x))


def angle(y: Tensor, x: Tensor) -> Tensor:
    """Write the angle of (x, y) so that no quotient is 0 / 0, and both zeros keep their sign."""
    is_negative = (y < 0) | (torch.reciprocal(y) < 0)
    half_turn = math.pi * torch.where(is_negative, -torch.ones_like(y), torch.ones_like(y))
    slope = torch.atan(y / torch.where(x == 0, 1.0, x))
    beside = torch.where(y == 0, y, half_turn / 2)  # on the axis itself
    back = (x < 0) | ((x == 0) & (torch.reciprocal(x) < 0) & (y == 0))
    return torch.where(x == 0, torch.where(back, half_turn, beside), torch.where(back, slope + half_turn, slope))


def log_of_sum(x: Tensor, y: Tensor) -> Tensor:
    """Write log(exp(x) + exp(y)) with no exponential above one."""
    difference = torch.where(x == y, 0.0, torch.abs(x - y))  # two infinities of one sign are equal
    return torch.maximum(x, y) + torch.log1p(torch.exp(-difference))


def _are_real(*values: Tensor | float) -> bool:
    tensors = [each for each in values if isinstance(each, Tensor)]
    return all(each.is_floating_point() for each in tensors)


def _on_the_other_side(truncated: Tensor, y: Tensor | float) -> Tensor:
    """Tell where a remainder that is not zero has another sign than the divisor."""
    return (truncated != 0) & ((truncated < 0) != (y < 0))
