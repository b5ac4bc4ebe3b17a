from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.forms.pooling import (
    adaptive_max_pool,
    largest,
    overridden_average,
    overridden_average_of_volumes,
)
from tests.forms.same import example, operators

_aten = torch.ops.aten
ADAPTIVE = {
    _aten.adaptive_max_pool1d.default: adaptive_max_pool,
    _aten.adaptive_max_pool2d.default: adaptive_max_pool,
}
AVERAGE = {_aten.avg_pool2d.default: overridden_average}


@pytest.mark.parametrize("size", [1, 2, (5, 4), (7, 3), (10, 12), (11, 13), (3, 1)])
def test_adaptive_max_pooling(size: int | tuple[int, int]) -> None:
    found = operators(ADAPTIVE, lambda x: F.adaptive_max_pool2d(x, size), example(2, 3, 10, 12))
    assert not [name for name in found if "adaptive" in name]


@pytest.mark.parametrize(("size", "shape"), [(4, (2, 3, 8)), (5, (2, 3, 12)), (1, (3, 7))])
def test_adaptive_max_pooling_of_sequences(size: int, shape: tuple[int, ...]) -> None:
    found = operators(ADAPTIVE, lambda x: F.adaptive_max_pool1d(x, size), example(*shape))
    assert not [name for name in found if "adaptive" in name]


def test_indices_that_are_read_keep_the_operator() -> None:
    found = operators(ADAPTIVE, lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True), example(2, 3, 4, 4))
    assert "aten.adaptive_max_pool2d.default" in found


@pytest.mark.parametrize("padding", [0, 1, (1, 0)])
@pytest.mark.parametrize("stride", [None, 1, 2, 3, (4, 2)])
@pytest.mark.parametrize("kernel", [2, 3, (3, 2)])
def test_a_divisor_of_its_own(kernel: object, stride: object, padding: object) -> None:
    for (height, width), ceil, counted in itertools.product([(7, 8), (9, 10)], [False, True], [False, True]):
        found = operators(
            AVERAGE,
            lambda x, ceil=ceil, counted=counted: F.avg_pool2d(x, kernel, stride, padding, ceil, counted, 5),
            example(1, 2, height, width),
        )
        assert "aten.mul.Tensor" in found


def test_a_divisor_of_its_own_over_volumes() -> None:
    forms = {_aten.avg_pool3d.default: overridden_average_of_volumes}
    for kernel, stride, padding in [(2, None, 0), ((1, 2, 3), (1, 2, 2), (0, 1, 1))]:
        found = operators(
            forms,
            lambda x, k=kernel, s=stride, p=padding: F.avg_pool3d(x, k, s, p, True, False, 5),
            example(2, 3, 4, 5, 7),
        )
        assert "aten.mul.Tensor" in found


def test_a_divisor_that_is_the_usual_one_stays() -> None:
    assert operators(AVERAGE, lambda x: F.avg_pool2d(x, 3, 2, 1), example(1, 2, 8, 8)) == ["aten.avg_pool2d.default"]


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_a_maximum_whose_indices_nobody_reads(dim: int, keepdim: bool) -> None:
    forms = {_aten.max.dim: largest}
    assert operators(forms, lambda x: x.max(dim, keepdim)[0], example(2, 3, 4)) == ["aten.amax.default"]
    assert "aten.max.dim" in operators(forms, lambda x: x.max(dim, keepdim)[1], example(2, 3, 4))
