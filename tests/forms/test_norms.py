from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.forms.norms import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    layer_norm_products,
    pooled_group_norm,
    root_mean_square_norm,
    stored_batch_norm,
)
from tests.forms.same import example, operators

_aten = torch.ops.aten
FORMS = {
    _aten.batch_norm.default: batch_norm,
    _aten.group_norm.default: group_norm,
    _aten.instance_norm.default: instance_norm,
    _aten.layer_norm.default: layer_norm,
}
W, B = 1 + example(6), example(6) / 3


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: F.instance_norm(x, weight=W, bias=B, eps=0.1), (2, 6, 4, 5)),
        (F.instance_norm, (2, 6, 5)),
        (lambda x: F.instance_norm(x, weight=W), (1, 6, 2, 3, 4)),
        (lambda x: F.group_norm(x, 3, W, B), (2, 6, 4, 5)),
        (lambda x: F.group_norm(x, 1, eps=0.1), (2, 6, 5)),
        (lambda x: F.group_norm(x, 2, W, B), (3, 6)),
        (lambda x: F.batch_norm(x, None, None, W, B, training=True), (1, 6, 4, 5)),
        (lambda x: F.batch_norm(x, None, None, W, B, training=True), (3, 6, 4, 5)),
        (lambda x: F.batch_norm(x, None, None, training=True, eps=0.1), (3, 6, 5)),
        (lambda x: F.layer_norm(x, (6,), W, B, eps=0.1), (2, 5, 6)),
        (lambda x: F.layer_norm(x, (6,)), (6,)),
        (lambda x: F.layer_norm(x, (5, 6), W.expand(5, 6), B.expand(5, 6)), (2, 3, 5, 6)),
    ],
)
def test_norms_are_means_over_maps(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    assert not [name for name in operators(FORMS, function, 3 + 2 * example(*shape)) if "norm" in name]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6), nn.InstanceNorm2d(6, track_running_stats=True)])
def test_norms_with_running_statistics_stay(norm: nn.Module) -> None:
    assert "aten.mean.dim" not in operators(FORMS, norm.eval().double(), example(2, 6, 4, 5))


def test_equal_values_come_out_as_zero_in_float32() -> None:
    # One rounding of a mean of 1024 times 0.7 in float32 shows at 1 / sqrt(eps) = 316 times its size.
    flat = torch.full((1, 6, 32, 32), 0.7)
    assert instance_norm(flat, None, None, None, None, True, 0.1, 1e-5, True).abs().max() < 1e-7
    assert group_norm(flat, 2).abs().max() < 1e-7


PRODUCTS = {
    _aten.batch_norm.default: stored_batch_norm,
    _aten.group_norm.default: pooled_group_norm,
    _aten.layer_norm.default: layer_norm_products,
    _aten.rms_norm.default: root_mean_square_norm,
}


@pytest.mark.parametrize(
    ("function", "shape", "means"),
    [
        (lambda x: F.layer_norm(x, (6,), W, B, eps=0.1), (2, 5, 6), "aten.linear.default"),
        (lambda x: F.layer_norm(x, (6,)), (2, 4, 5, 6), "aten.linear.default"),
        (lambda x: F.layer_norm(x, (5, 6)), (2, 3, 5, 6), "aten.mean.dim"),
        (lambda x: F.group_norm(x, 3, W, B), (2, 6, 4, 5), "aten.conv2d.default"),
        (lambda x: F.group_norm(x, 1, W, B, eps=0.1), (2, 6, 4, 5), "aten.conv2d.default"),
        (lambda x: F.group_norm(x, 2, W, B), (3, 6, 5), "aten.mean.dim"),
        (lambda x: F.rms_norm(x, (6,), W, eps=0.1), (2, 5, 6), "aten.linear.default"),
        (lambda x: F.batch_norm(x, B, W.abs(), W, B, eps=0.1), (4, 6), "aten.mul.Tensor"),
        (lambda x: F.batch_norm(x, B, W.abs()), (4, 6, 5), "aten.mul.Tensor"),
        (lambda x: F.batch_norm(x, None, None, W, B, training=True), (3, 6, 4, 5), "aten.mean.dim"),
    ],
)
def test_means_as_products_and_convolutions(
    function: Callable[[Tensor], Tensor], shape: tuple[int, ...], means: str
) -> None:
    found = operators(PRODUCTS, function, 3 + 2 * example(*shape))
    assert means in found
    assert not [name for name in found if "norm" in name]


def test_a_batch_norm_of_maps_and_a_norm_with_the_epsilon_of_its_type_stay() -> None:
    assert "aten.batch_norm.default" in operators(PRODUCTS, lambda x: F.batch_norm(x, B, W.abs()), example(2, 6, 4, 5))
    assert "aten.rms_norm.default" in operators(PRODUCTS, lambda x: F.rms_norm(x, (6,)), example(2, 6))


def test_groups_of_equal_values_come_out_as_zero_in_float32() -> None:
    flat = torch.full((1, 6, 32, 32), 0.7)
    for groups in (1, 2):
        assert pooled_group_norm(flat, groups).abs().max() < 1e-7
