"""Peak activation memory against lifetimes worked out by hand (float32, so four bytes an element)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.analysis.memory import activation_peak, peak_activation_bytes

KIB = 1024


class Case(nn.Module):
    """A forward pass by name, over x of 1 KiB (16 x 16)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(torch.zeros(16, 64))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        match self.name:
            case "chain":  # a tensor dies with its last reader: never more than two
                return x.exp().sin().cos()
            case "residual":  # x is still needed while two others are alive
                return x + x.exp().sin()
            case "wide":  # 1 in, 4 wide; then 4 and 4; then 4 and 1
                return (x @ self.weight).exp() @ self.weight.T
            case "views":  # a transpose, a slice and a reshape cost nothing
                return x.t()[:8].unsqueeze(0).exp()
            case "contiguous":  # a copy in another order costs: x and its transpose, then the transpose and its sine
                return x.t().contiguous().sin()
            case "kept by a view":  # 4 KiB stay alive for a slice of them, beside a chain of 1 KiB tensors
                wide = x @ self.weight
                return x.exp().sin() + wide[:, :16]
            case "split":
                a, b = (x @ self.weight).split(32, dim=1)
                return a + b
            case "dropout":  # traced as a copy, and yet none
                return F.dropout(x @ self.weight, 0.5, self.training).sum(1)
            case "results":  # both results are held to the end
                return x.exp(), x.sin().cos()
        raise AssertionError(self.name)


@pytest.mark.parametrize(
    ("name", "kib"),
    [
        ("chain", 2),
        ("residual", 3),
        ("wide", 8),
        ("views", 1.5),
        ("contiguous", 2),
        ("kept by a view", 4 + 1 + 1),
        ("split", 4 + 2),
        ("dropout", 1 + 4),
        ("results", 3),
    ],
)
def test_peak_against_lifetimes_by_hand(name: str, kib: float) -> None:
    assert peak_activation_bytes(Case(name), (16, 16)) == kib * KIB


def test_the_peak_is_named_and_its_tensors_add_up() -> None:
    peak = activation_peak(nn.Sequential(nn.Conv2d(4, 64, 1), nn.GELU(), nn.Conv2d(64, 4, 1)), (1, 4, 8, 8))
    assert (peak.operator, peak.where) == ("aten.gelu.default", "1")
    assert [(tensor.operator, tensor.where, tensor.shape) for tensor in peak.live] == [
        ("aten.convolution.default", "0", (1, 64, 8, 8)),
        ("aten.gelu.default", "1", (1, 64, 8, 8)),
    ]
    assert peak.peak_bytes == sum(tensor.size_bytes for tensor in peak.live) == 2 * 64 * 64 * 4


class Attention(nn.Module):
    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return F.scaled_dot_product_attention(x, x, x)
        return (x @ x.transpose(-1, -2)).softmax(-1) @ x


def test_only_unfused_attention_holds_the_whole_map() -> None:
    tokens, width = 256, 8
    shape = (1, 1, tokens, width)
    x, attention_map = tokens * width * 4, tokens * tokens * 4
    assert peak_activation_bytes(Attention(fused=False), shape) == x + 2 * attention_map
    # the fused kernel yields its result and one number per token
    assert peak_activation_bytes(Attention(fused=True), shape) == 2 * x + tokens * 4


def test_weights_and_batch_statistics_are_no_activations() -> None:
    model = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1))
    assert peak_activation_bytes(model, (2, 4, 8, 8)) == 2 * (2 * 4 * 8 * 8 * 4)
