from __future__ import annotations

import pytest
from torch import nn

from tests.rewrites.graphs import kind, traced
from tests.rewrites.seeded import assert_same, image, small_care


class Mean(nn.Module):
    """A mean of the input, as a map or as tokens."""

    def __init__(self, dim, *, tokens, keepdim):
        super().__init__()
        self.dim, self.tokens, self.keepdim = dim, tokens, keepdim

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2) if self.tokens else x
        return 2 * x.mean(dim=self.dim, keepdim=self.keepdim)


def other_means(module, example):
    """Return the means that are no global average pooling, which keeps its axes."""
    means = [node for node in traced(module, example) if kind(node) == "mean"]
    return [node for node in means if (list(node.args[1]), *node.args[2:]) != ([2, 3], True)]


@pytest.mark.parametrize(
    ("dim", "tokens", "keepdim", "places"),
    [
        ((2, 3), False, False, 1),
        ((-1, -2), False, False, 1),
        ((2, 3), False, True, 0),
        (-1, False, True, 1),
        (3, False, False, 1),
        (1, True, False, 1),
        (1, True, True, 1),
        (-2, True, False, 1),
        (1, False, False, 0),
        ((1, 2, 3), False, False, 0),
    ],
)
def test_every_axis(dim, tokens, keepdim, places):
    original = Mean(dim, tokens=tokens, keepdim=keepdim)
    model = assert_same(original, ["token_means"], image(5, 7), places=places)
    assert len(other_means(model, image(5, 7))) == len(other_means(original, image(5, 7))) - places


def test_care():
    model = assert_same(small_care(), ["token_means", "merged_heads", "linear_attention"], image(), places=1 + 4)
    assert other_means(model, image()) == []
