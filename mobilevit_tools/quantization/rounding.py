"""Modules that round as a quantizer does and pass gradients straight through, for a model that learns to live with it.

Gradients of what a range clips are zero; those of everything else pass as if nothing had been rounded (the
straight-through estimator, arXiv 1308.3432).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilevit_tools.quantization.grids import Rounder

BITS = 8


class RoundedActivation(nn.Module):
    """Rounds a tensor to 256 levels at most, of one range."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: float, zero_point: int, lowest: int, highest: int) -> None:
        super().__init__()
        self.lowest, self.highest = lowest, highest
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("zero_point", torch.tensor(zero_point, dtype=torch.int32))

    @classmethod
    def symmetric(cls, low: float, high: float) -> RoundedActivation:
        """Return what rounds to levels from -127 to 127 around zero."""
        top = 2 ** (BITS - 1) - 1
        return cls(_step(max(abs(low), abs(high)), top), 0, -top, top)

    @classmethod
    def affine(cls, low: float, high: float) -> RoundedActivation:
        """Return what rounds to 256 levels from ``low`` to ``high``, zero being one of them."""
        low, high, levels = min(low, 0.0), max(high, 0.0), 2**BITS - 1
        step = _step(high - low, levels)
        return cls(step, round(-low / step), 0, levels)

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x`` of any shape."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, self.lowest, self.highest)


class RoundedWeight(nn.Module):
    """Rounds a weight symmetrically to 8 bits, with the scale of every channel that its largest value asks for now.

    Args:
        axis: The axis of the channels.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        """Round ``weight``, which has a scale for each index of the axis."""
        top = 2 ** (BITS - 1) - 1
        axis = self.axis % weight.dim()
        others = [each for each in range(weight.dim()) if each != axis]
        with torch.no_grad():
            scale = (weight.abs().amax(dim=others) / top).clamp_min(torch.finfo(weight.dtype).eps)
            zero = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, axis, -top, top)


class OnGrid(nn.Module):
    """Rounds a weight (rows, ...) to a grid that stays as it is."""

    def __init__(self, rounder: Rounder) -> None:
        super().__init__()
        self._rounder = rounder

    def forward(self, weight: Tensor) -> Tensor:
        """Round ``weight``."""
        with torch.no_grad():
            change = self._rounder.whole(weight.flatten(1)).view_as(weight) - weight
        return weight + change


def _step(extent: float, levels: int) -> float:
    return extent / levels if extent else 1.0
