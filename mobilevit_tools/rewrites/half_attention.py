"""CARE's linear attention in an order that stays within half precision.

phi(t) = elu(t) + 1 is unbounded, and the sums over tokens and channels of its products leave the half range (65504)
long before their quotient does. In the layout (head, channel, token), with tokens N, channels d, and any positive
scales s per key channel, m per head and r per token,

    out = [v / N (k / s)^T] [(q / r) * (s / m)] / ([mean_tokens(k) / m]^T (q / r) + eps / r / m):

s and m cancel between the two products, r and m between numerator and denominator. Chosen are s = mean_tokens(k) + t,
m = the sum of s over channels, r = mean_channels(q) + t with t = 1e-3: then v / N (k / s)^T is at most a mean of v,
and no value exceeds d times the largest |v|. t keeps the scales away from zero where all keys or queries are strongly
negative; as it cancels, its size does not matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.care import ATTENTION_EPS, LinearAttentionMixer
from mobilevit_tools.rewrites.dataflow import Dataflow
from mobilevit_tools.rewrites.linear_attention import ChannelMajorMixer

SMALLEST_SCALE = 1e-3


class HalfSafeMixer(ChannelMajorMixer):
    """The mixer of stages 3-4 with scaled attention in (batch x head, channel, token) layout."""

    def attend(self, v: Tensor) -> Tensor:
        """Return linear attention over the tokens of ``v`` (B, g, H, W)."""
        tokens = v.shape[2] * v.shape[3]
        q, k = torch.split(F.elu(self.qk(v)) + 1, self.group, dim=1)
        q, k, values = (t.reshape(-1, self.head_dim, tokens) for t in (q, k, v))
        means = k.mean(dim=-1, keepdim=True)
        s = means + SMALLEST_SCALE
        m = s.mean(dim=1, keepdim=True) * float(self.head_dim)
        r = q.mean(dim=1, keepdim=True) + SMALLEST_SCALE
        q = q / r
        products = torch.bmm(values / float(tokens), (k / s).transpose(1, 2))
        normaliser = torch.bmm((means / m).transpose(1, 2), q) + ATTENTION_EPS / r / m
        out = torch.bmm(products, q * (s / m)) / normaliser
        return out.reshape(v.shape)


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Replace every linear-attention mixer of CARE."""
    mixers = flow.layers(module, LinearAttentionMixer)
    for name, mixer in mixers:
        module.set_submodule(name, HalfSafeMixer(mixer))
    return module, len(mixers)
