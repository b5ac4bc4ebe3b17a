"""BatchNorm folded into the convolution after it.

Evaluation of the norm is s x + t per channel, so W (s x + t) + c is the convolution of weights W s (scaled by input
channel) and bias c + sum over input channels and taps of W t. Exact only without zero padding: a padded tap would see
0 where the original sees the norm of nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilevit_tools.rewrites.batch_norm_backward import frozen, scale_and_shift
from mobilevit_tools.rewrites.dataflow import Dataflow


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Fold every BatchNorm2d whose only reader is an unpadded Conv2d."""
    places = 0
    for pair in flow.adjacent(module, nn.BatchNorm2d, nn.Conv2d):
        conv, affine = pair.second, scale_and_shift(pair.first)
        if affine is None or conv.padding not in ((0, 0), "valid"):
            continue
        scale, shift = (by_input(values, conv) for values in affine)
        added = (conv.weight * shift).sum(dim=(1, 2, 3))
        conv.weight = frozen(conv.weight * scale)
        conv.bias = frozen(added if conv.bias is None else conv.bias + added)
        module.set_submodule(pair.first_name, nn.Identity())
        places += 1
    return module, places


def by_input(values: Tensor, conv: nn.Conv2d) -> Tensor:
    """Arrange one value an input channel (C,) as the weights of ``conv`` are: (out, C / groups, 1, 1)."""
    grouped = values.view(conv.groups, 1, -1).expand(-1, conv.out_channels // conv.groups, -1)
    return torch.reshape(grouped, (conv.out_channels, -1, 1, 1))
