from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.rewrites.graphs import kind, traced
from tests.rewrites.seeded import assert_same, image


class Softmax(nn.Module):
    """A softmax of the input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x) + x


@pytest.mark.parametrize(
    ("function", "places"),
    [
        (lambda x: x.softmax(dim=1), 1),
        (lambda x: torch.softmax(x, 2), 1),
        (lambda x: F.softmax(x, dim=-3), 1),
        (nn.Softmax(dim=0), 1),
        (lambda x: x.softmax(dim=-1), 0),
        (lambda x: F.softmax(x, dim=3), 0),
    ],
)
def test_axes(function, places):
    model = assert_same(Softmax(function), ["last_axis_softmax"], image(5, 7), places=places)
    (softmax,) = (node for node in traced(model, image(5, 7)) if kind(node) == "softmax")
    assert softmax.args[1] in {-1, 3}
