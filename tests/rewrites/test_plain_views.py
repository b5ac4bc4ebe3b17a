from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.rewrites.graphs import operators
from tests.rewrites.seeded import assert_same, image


class Expanding(nn.Module):
    """Joins its input with an expanded row of it."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes = sizes

    def forward(self, x):
        return torch.cat([x[:, :, :1].expand(*self.sizes), x], dim=2)


@pytest.mark.parametrize(("sizes", "places"), [((-1, -1, -1, -1), 1), ((1, 3, 1, -1), 1), ((-1, 3, 4, -1), 0)])
def test_only_expands_without_effect_go(sizes, places):
    model = assert_same(Expanding(sizes), ["plain_views"], image(5, 7, batch=1), places=places)
    assert operators(model, image(5, 7, batch=1))["expand"] == 1 - places


class NewAxis(nn.Module):
    """Expands its input to one axis more."""

    def forward(self, x):
        return x.expand(1, -1, -1, -1, -1) + 1


def test_expand_to_a_new_axis_stays():
    assert_same(NewAxis(), ["plain_views"], image(5, 7), places=0)


class View(nn.Module):
    """A view of the input's first channel and column."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return 2 * self.function(x[:, :1, :, :1])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.squeeze(1),
        lambda x: torch.squeeze(x, -1),
        lambda x: x.squeeze(),
        lambda x: x.squeeze(2),
        lambda x: x.unsqueeze(0),
        lambda x: x.unsqueeze(-1),
        lambda x: torch.unsqueeze(x, 2),
    ],
)
def test_axes_of_one(function):
    model = assert_same(View(function), ["plain_views"], image(5, 7), places=1)
    assert not {"squeeze", "unsqueeze"} & operators(model, image(5, 7)).keys()
