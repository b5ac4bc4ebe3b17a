from __future__ import annotations

import copy

import pytest
import torch

from mobilevit_tools.models.care import LinearAttentionMixer
from mobilevit_tools.rewrites._base import apply
from mobilevit_tools.rewrites.half_attention import HalfSafeMixer
from mobilevit_tools.rewrites.linear_attention import ChannelMajorMixer
from tests.rewrites.graphs import kind, traced
from tests.rewrites.seeded import assert_same, image, rewritten, seeded, small_care
from tests.rewrites.test_linear_attention import Attention


@pytest.mark.parametrize("gain", [1.0, 30.0, -30.0])
@pytest.mark.parametrize("bias", [0.0, 9.0, -9.0, -40.0])
def test_any_scale(gain, bias):
    model = seeded(Attention(gain))
    model.mixer.qk.bias += bias
    assert_same(model, ["half_attention"], image(7, 5), places=1)


def test_everything_is_scaled_before_it_is_summed():
    model, _ = rewritten(seeded(Attention(1.0)), ["half_attention"], image(7, 5))
    products = [node for node in traced(model, image(7, 5)) if kind(node) == "bmm"]
    assert len(products) == 3

    def scaled(operand):
        return scaled(operand.args[0]) if kind(operand) == "transpose" else kind(operand) in {"div", "mul", "bmm"}

    assert all(scaled(operand) for product in products for operand in product.args)
    (division,) = (node for node in traced(model, image(7, 5)) if kind(node) == "div" and node.args[1] == 35)
    assert kind(division.args[0]) == "reshape"  # the values themselves, not their product with the keys


def test_care():
    assert_same(small_care(), ["half_attention"], image(), places=4)


def test_it_goes_before_the_plain_form():
    applied = apply(small_care(), image(), deployment="onnx", names=["linear_attention", "half_attention"]).applied
    assert [rewrite.name for rewrite in applied] == ["half_attention"]


def cosine(left, right):
    return float(torch.cosine_similarity(left.double().flatten(), right.double().flatten(), dim=0))


@pytest.mark.parametrize("bias", [25.0, 0.0, -8.0])
def test_half_precision_over_many_large_tokens(bias):
    mixer = seeded(LinearAttentionMixer(32, 16))
    mixer.qk.bias += bias
    v = 20 * image(14, 14, batch=1)[:, :1] + 5 * torch.randn(1, 32, 14, 14, dtype=torch.float64)
    expected = mixer.attend(v)
    halved = {kind: copy.deepcopy(kind(mixer)).half().attend(v.half()) for kind in (HalfSafeMixer, ChannelMajorMixer)}
    assert cosine(halved[HalfSafeMixer], expected) > 0.9999
    if bias > 0:
        assert not torch.isfinite(halved[ChannelMajorMixer]).all()
