"""CARE's linear attention without transposed heads.

With q, k, v as (head, channel, token), the layout that a map has anyway, and S = v k^T / N (d x d),

    out = S q / (mean over tokens of k . q + eps),

which needs one transposed operand (k^T) where the token-major form transposes q, k, v and the result. The division by
N acts on the small product and before the second one. The normaliser stays a division: a reciprocal has an epsilon of
its own on Core ML.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.care import ATTENTION_EPS, LinearAttentionMixer
from mobilevit_tools.rewrites.dataflow import Dataflow


class ChannelMajorMixer(nn.Module):
    """The mixer of stages 3-4 with attention in (batch x head, channel, token) layout."""

    def __init__(self, mixer: LinearAttentionMixer) -> None:
        super().__init__()
        self.group = mixer.group
        self.head_dim = mixer.head_dim
        self.qk = mixer.qk
        self.dwconv1 = mixer.dwconv1
        self.dwconv2 = mixer.dwconv2

    def attend(self, v: Tensor) -> Tensor:
        """Return linear attention over the tokens of ``v`` (B, g, H, W)."""
        tokens = v.shape[2] * v.shape[3]
        q, k = torch.split(F.elu(self.qk(v)) + 1, self.group, dim=1)
        q, k, values = (t.reshape(-1, self.head_dim, tokens) for t in (q, k, v))
        products = torch.bmm(values, k.transpose(1, 2)) / float(tokens)
        means = k.mean(dim=-1, keepdim=True).transpose(1, 2)
        out = torch.bmm(products, q) / (torch.bmm(means, q) + ATTENTION_EPS)
        return out.reshape(v.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens of ``x`` (B, 3g, H, W)."""
        value, local1, local2 = torch.split(x, self.group, dim=1)
        return torch.cat([self.attend(value), self.dwconv1(local1), self.dwconv2(local2)], dim=1)


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Replace every linear-attention mixer of CARE."""
    mixers = flow.layers(module, LinearAttentionMixer)
    for name, mixer in mixers:
        module.set_submodule(name, ChannelMajorMixer(mixer))
    return module, len(mixers)
