from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilevit_tools.models.care import LinearAttentionMixer
from tests.rewrites.graphs import kind, operators, traced
from tests.rewrites.seeded import assert_same, image, rewritten, seeded, small_care


class Attention(nn.Module):
    """A mixer behind a projection that spreads its inputs to ``gain``."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain
        self.embed = nn.Conv2d(3, 96, 1)
        self.mixer = LinearAttentionMixer(32, 16)

    def forward(self, x):
        return self.mixer(self.gain * self.embed(x))


@pytest.mark.parametrize("gain", [1.0, 8.0, -8.0])
@pytest.mark.parametrize("size", [(7, 5), (1, 3)])
def test_two_heads_on_a_map_that_is_not_square(gain, size):
    assert_same(seeded(Attention(gain)), ["linear_attention"], image(*size), places=1)


def test_one_transposed_operand_and_the_division_before_the_second_product():
    model, _ = rewritten(seeded(Attention(1.0)), ["linear_attention"], image(7, 5))
    # Of k and of its means, which are a row; the original transposes q, k, v, the means and the result, too.
    assert operators(seeded(Attention(1.0)), image(7, 5))["transpose"] == 6
    assert operators(model, image(7, 5))["transpose"] == 2
    assert operators(model, image(7, 5))["reciprocal"] == 0
    (division,) = (node for node in traced(model, image(7, 5)) if kind(node) == "div" and node.args[1] == 35)
    assert kind(division.args[0]) == "bmm"
    assert division.meta["val"].shape == (2 * 2, 16, 16)
    (second,) = division.users
    assert (kind(second), second.args[0]) == ("bmm", division)


def test_epsilon_counts_where_queries_and_keys_vanish():
    model = seeded(Attention(1.0))
    model.mixer.qk.bias -= 9.0  # q . k is then as small as the epsilon
    assert_same(model, ["linear_attention"], image(7, 5), places=1)
    with_epsilon = model(image(7, 5))
    model.mixer.qk.bias += 9.0
    assert not torch.allclose(with_epsilon, model(image(7, 5)), rtol=1e-2)


def test_care():
    assert_same(small_care(), ["linear_attention"], image(), places=4)
