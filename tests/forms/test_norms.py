from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.forms.norms import batch_norm, group_norm, instance_norm, layer_norm
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
