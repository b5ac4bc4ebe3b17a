"""CARE's two averaged heads as one Linear.

Both heads share the mean over the map, the GELU and the normalised vector z = (y - mean) / sqrt(var + eps); they differ
in the affine g, b of their LayerNorm and in their Linear W, c. Each computes W (g z + b) + c = (W g) z + (W b + c), so
that the average of the two is one Linear of weights (W1 g1 + W2 g2) / 2 and bias (W1 b1 + c1 + W2 b2 + c2) / 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.care import CARETransformer, Head
from mobilevit_tools.rewrites.batch_norm_backward import frozen
from mobilevit_tools.rewrites.dataflow import Dataflow


class MergedHead(nn.Module):
    """The average of several heads over one map (B, C, H, W)."""

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        (self.eps,) = {head.norm.eps for head in heads}
        self.fc = nn.Linear(heads[0].fc.in_features, heads[0].fc.out_features)
        self.fc.weight = frozen(torch.stack([head.fc.weight * head.norm.weight for head in heads]).mean(dim=0))
        self.fc.bias = frozen(torch.stack([head.fc(head.norm.bias) for head in heads]).mean(dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, num_classes)."""
        pooled = F.gelu(x.mean(dim=(2, 3)))
        logits: Tensor = self.fc(F.layer_norm(pooled, pooled.shape[-1:], eps=self.eps))
        return logits


class SingleHeadCARE(nn.Module):
    """A CARE classifier whose heads are merged."""

    def __init__(self, model: CARETransformer) -> None:
        super().__init__()
        self.stem = model.stem
        self.stages = model.stages
        self.head = MergedHead((model.head, model.dist_head))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(x)
        return logits


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Merge the heads of a CARE classifier."""
    found = flow.layers(module, CARETransformer)
    if found != [("", module)] or found[0][1].features_only:
        return module, 0
    return SingleHeadCARE(found[0][1]), 1
