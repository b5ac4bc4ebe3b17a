"""Round to half precision: values are carried in float32, so that whatever computes with them is told apart."""

from __future__ import annotations

import numpy as np
import torch


def half(tensor: torch.Tensor) -> torch.Tensor:
    """Round float32 values to the nearest fp16 value, ties to even, overflow to infinity, and carry them in float32."""
    return tensor.half().float()


def half_scalar(value: float) -> float:
    """Round a scalar parameter as the converter does: to fp16, but never a small nonzero number to zero."""
    rounded = float(half(torch.tensor(value)))
    return float(np.copysign(2.0**-24, value)) if rounded == 0 and value != 0 else rounded
