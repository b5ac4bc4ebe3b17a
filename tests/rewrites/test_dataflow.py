"""What must not be taken for two layers of which one feeds the other alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from tests.rewrites.seeded import assert_same, image, seeded


class Transposed(nn.Module):
    """Reads a norm's result a second time, as an attribute of it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        y = self.norm(self.embed(x.flatten(1, 2)))
        return y.mT @ self.fc(y)


class TwoNames(nn.Module):
    """Holds one norm under two names."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), self.bn)

    def forward(self, x):
        return self.layers(x)


class SamePadding(nn.Conv2d):
    """Pads by itself what it declares as unpadded."""

    def forward(self, x):
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class AsksForType(nn.Module):
    """Converts to the type of a layer's weights, as training in mixed precision does."""

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x):
        return self.second(self.first(x.to(self.first.weight.dtype)))


class SharesWeights(AsksForType):
    """Uses a layer's weights a second time by itself."""

    def forward(self, x):
        return self.second(self.first(x)) + F.conv2d(x, self.first.weight)


def clamped(module: nn.Module) -> nn.Module:
    """A layer whose result a hook changes, for inputs that no example may hold."""
    module.register_forward_hook(lambda _module, _args, output: output.clamp(-40, 40))
    return module


def pruned(module: nn.Module) -> nn.Module:
    """A layer whose weights a hook computes before each call."""
    return prune.l1_unstructured(module, "weight", amount=0.5)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("layer_norm_affine", Transposed()),
        ("batch_norm_backward", TwoNames()),
        ("batch_norm_forward", nn.Sequential(nn.BatchNorm2d(3), SamePadding(3, 4, 3))),
        ("batch_norm_backward", nn.Sequential(nn.Conv2d(3, 4, 1), clamped(nn.BatchNorm2d(4)))),
        ("batch_norm_backward", nn.Sequential(clamped(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4))),
        ("batch_norm_backward", nn.Sequential(pruned(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4))),
        ("batch_norm_backward", SharesWeights(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))),
        ("batch_norm_forward", AsksForType(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1))),
        ("depthwise_lattices", AsksForType(nn.Conv2d(3, 3, 7, padding=3, groups=3), nn.GELU())),
        ("depthwise_lattices", nn.Sequential(clamped(nn.Conv2d(3, 3, 7, padding=3, groups=3)))),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_stays(name: str, model: nn.Module) -> None:
    assert_same(seeded(model), [name], image(6, 8), places=0)


class Shaped(Transposed):
    """Asks a norm's result for its shape only."""

    def forward(self, x):
        y = self.norm(self.embed(x.flatten(1, 2)))
        return self.fc(y).reshape(y.shape[0], -1) + torch.zeros(y.shape[:1])[:, None]


def test_a_shape_is_no_reader() -> None:
    assert_same(seeded(Shaped()), ["layer_norm_affine"], image(6, 8), places=1)
