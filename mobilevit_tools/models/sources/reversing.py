"""Models that were trained on BGR."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReversedChannels(nn.Module):
    """Takes RGB and gives a model BGR.

    Args:
        model: Takes (B, 3, H, W), blue first.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> object:
        """Return what the model returns for an RGB image (B, 3, H, W)."""
        red, green, blue = image[:, :1], image[:, 1:2], image[:, 2:]  # slices: backends take them, and no flip
        return self.model(torch.cat([blue, green, red], 1))
