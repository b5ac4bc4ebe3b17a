from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.rewrites.seeded import assert_same, image, rewritten, small_care


class FeatureMap(nn.Module):
    """A function of an input with large values of both signs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(30 * x)


@pytest.mark.parametrize(
    "function",
    [lambda t: F.elu(t) + 1, lambda t: 1 + F.elu(t), lambda t: F.elu(t).add(1.0), lambda t: nn.ELU()(t) + 1.0],
    ids=["sum", "reversed", "method", "module"],
)
def test_every_spelling(function):
    assert_same(FeatureMap(function), ["elu_plus_one"], image(5, 7), places=1)


@pytest.mark.parametrize(
    "function",
    [F.elu, lambda t: F.elu(t) + 2, lambda t: F.elu(t, alpha=0.5) + 1, lambda t: F.relu(t) + 1],
    ids=["alone", "another constant", "another alpha", "another function"],
)
def test_other_functions_stay(function):
    assert_same(FeatureMap(function), ["elu_plus_one"], image(5, 7), places=0)


def changed_result(t):
    y = F.elu(t)
    y.mul_(2)
    return y + 1


def changed_source(t):
    t = t * 1
    y = F.elu(t)
    t += 5
    return y + 1


def changed_by_index(t):
    y = F.elu(t)
    y[:, 0] = 3
    return y + 1


@pytest.mark.parametrize("function", [changed_result, changed_source, changed_by_index])
def test_what_changes_in_place_stays(function):
    assert_same(FeatureMap(function), ["elu_plus_one"], image(5, 7), places=0)


def test_no_elu_is_left_in_care():
    model, places = rewritten(small_care(), ["elu_plus_one"], image())
    assert places == {"elu_plus_one": 8}
    graph = torch.export.export(model, (image(),), strict=False).graph
    used = [node.target for node in graph.nodes if node.users]
    assert torch.ops.aten.elu.default not in used
    assert torch.ops.aten.exp.default in used
