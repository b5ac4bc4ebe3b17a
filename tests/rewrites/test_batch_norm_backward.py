from __future__ import annotations

import torch
from torch import nn

from tests.rewrites.seeded import assert_same, image, seeded


def test_padded_grouped_convolution_without_bias():
    model = seeded(nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, stride=2, groups=3, bias=False), nn.BatchNorm2d(6)))
    folded = assert_same(model, ["batch_norm_backward"], image(17, 13), places=1)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())


def test_norm_without_affine_after_a_bias():
    model = seeded(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False, eps=0.1)))
    assert_same(model, ["batch_norm_backward"], image(5, 7), places=1)


class Branching(nn.Module):
    """The convolution's result is read by the norm and by a residual."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


def test_result_with_another_reader_stays():
    assert_same(seeded(Branching()), ["batch_norm_backward"], image(5, 7), places=0)


class Returning(Branching):
    """The convolution's result is itself a result of the model."""

    def forward(self, x):
        y = self.conv(x)
        self.norm(y)
        return y


def test_result_that_the_model_returns_stays():
    assert_same(seeded(Returning()), ["batch_norm_backward"], image(5, 7), places=0)


class Repeating(Branching):
    """One norm for two convolutions' results."""

    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


def test_shared_layers_stay():
    assert_same(seeded(Repeating()), ["batch_norm_backward"], image(5, 7), places=0)


class Table(nn.Module):
    """A layer that holds a tensor and takes no input, or takes it by name."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, *, x=None):
        return self.offset if x is None else x + self.offset


class Embedded(nn.Module):
    """Convolution and norm between layers of the owner's own."""

    def __init__(self):
        super().__init__()
        self.table, self.named = Table(), Table()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.named(x=self.norm(self.conv(x + self.table())))


def test_layers_that_take_no_input_or_take_it_by_name_are_left_alone():
    assert_same(seeded(Embedded()), ["batch_norm_backward"], image(5, 7), places=1)
