"""CARE's layer scale folded into the last projection of its block.

A block ends as x + gamma (j + W h + c), j being the residual of the second interaction. That is
x + gamma j + (gamma W) h + gamma c: the projection takes gamma in (scaled by output channel), and only the multiply of
the residual stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.care import Block, DualInteraction
from mobilevit_tools.rewrites.batch_norm_backward import frozen
from mobilevit_tools.rewrites.dataflow import Dataflow


class ScaledInteraction(nn.Module):
    """The dual interaction times a layer scale: gamma j + (gamma W) h + gamma c."""

    def __init__(self, interaction: DualInteraction, projection: nn.Conv2d, gamma: Tensor) -> None:
        super().__init__()
        self.inter1_norm = interaction.inter1_norm
        self.inter1_fc1 = interaction.inter1_fc1
        self.inter1_conv = interaction.inter1_conv
        self.inter1_fc2 = interaction.inter1_fc2
        self.inter2_norm = interaction.inter2_norm
        self.inter2_fc1 = interaction.inter2_fc1
        self.inter2_conv = interaction.inter2_conv
        self.inter2_fc2 = projection
        self.gamma = frozen(gamma.view(1, -1, 1, 1))

    def forward(self, memory: Tensor, features: Tensor) -> Tensor:
        """Return the scaled interaction (B, 4g, H, W)."""
        hidden = F.gelu(self.inter1_fc1(self.inter1_norm(features)))
        features = features + self.inter1_fc2(self.inter1_conv(hidden))
        joined = torch.cat([memory, features], dim=1)
        hidden = self.inter2_conv(F.gelu(self.inter2_fc1(self.inter2_norm(joined))))
        out: Tensor = self.gamma * joined + self.inter2_fc2(hidden)
        return out


class ScaledBlock(nn.Module):
    """A CARE block whose interaction holds the layer scale."""

    def __init__(self, block: Block, projection: nn.Conv2d, gamma: Tensor) -> None:
        super().__init__()
        self.group = block.group
        self.token_mixer = block.token_mixer
        self.inter_layer = ScaledInteraction(block.inter_layer, projection, gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 4g, H, W) to the same shape."""
        memory, features = torch.split(x, [self.group, 3 * self.group], dim=1)
        out: Tensor = x + self.inter_layer(memory, self.token_mixer(features))
        return out


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Fold the layer scale of every CARE block that has one."""
    places = 0
    for name, block in flow.layers(module, Block):
        projection = block.inter_layer.inter2_fc2
        if block.gamma is not None and projection is not None:
            module.set_submodule(name, ScaledBlock(block, _scaled(projection, block.gamma), block.gamma))
            places += 1
    return module, places


def _scaled(projection: nn.Conv2d, gamma: Tensor) -> nn.Conv2d:
    scaled = nn.Conv2d(projection.in_channels, projection.out_channels, 1)
    scaled.weight = frozen(projection.weight * gamma.view(-1, 1, 1, 1))
    scaled.bias = frozen(gamma * projection.bias) if projection.bias is not None else None
    return scaled
