from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.rewrites.graphs import operators
from tests.rewrites.seeded import assert_same, image, small_care


class Product(nn.Module):
    """A product of parts of the input (B, 3, H, W)."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "places"),
    [
        (lambda x: x @ x.transpose(-2, -1), 1),
        (lambda x: torch.matmul(x.unsqueeze(0), x.unsqueeze(0).mT), 1),
        (lambda x: x.matmul(x[:, :1].mT), 0),
        (lambda x: x[:, 0] @ x[:, 1].mT, 1),
        (lambda x: x @ x[0, 0].mT, 0),
    ],
    ids=["heads", "five axes", "broadcast", "one batch axis", "matrix"],
)
def test_products(function, places):
    model = assert_same(Product(function), ["flat_matmul"], image(5, 7), places=places)
    found, decomposed = operators(model, image(5, 7)), operators(model, image(5, 7), decomposed=True)
    assert (found["bmm"], found["matmul"]) == (places, 1 - places)
    assert decomposed["expand"] == 0 or not places


def test_it_is_what_keeps_expands_away():
    model = Product(lambda x: x @ x.transpose(-2, -1))
    assert operators(model, image(5, 7), decomposed=True)["expand"] == 2


def test_care():
    model = assert_same(small_care(), ["flat_matmul"], image(), places=3 * 4)
    assert operators(model, image())["matmul"] == 0
