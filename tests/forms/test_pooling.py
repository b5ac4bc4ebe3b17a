from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.forms._base import write_forms
from mobilevit_tools.forms.pooling import (
    adaptive_average,
    adaptive_max_pool,
    dilated_maximum,
    floored_average,
    floored_maximum,
    largest,
    largest_along,
    overridden_average,
    overridden_average_of_volumes,
    plain_average,
    pooled_largest,
    smallest_along,
)
from tests.forms.same import Call, example, operators

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


@pytest.mark.parametrize(
    ("kernel", "step", "pad", "sides"),
    [(2, 3, 1, (17, 17)), ((2, 3), (3, 2), 1, (17, 18)), (2, 3, 1, (17, 10)), (3, 2, 1, (8, 8)), (2, 2, 0, (9, 9))],
)
@pytest.mark.parametrize("inside", [True, False])
def test_windows_that_start_behind_the_map_are_left_out(
    kernel: int | tuple[int, int], step: int | tuple[int, int], pad: int, sides: tuple[int, int], inside: bool
) -> None:
    averages = {_aten.avg_pool2d.default: floored_average}
    largest_ones = {_aten.max_pool2d.default: floored_maximum}
    found = operators(
        averages,
        lambda x: F.avg_pool2d(x, kernel, step, pad, ceil_mode=True, count_include_pad=inside),
        example(1, 2, *sides),
    )
    found += operators(
        largest_ones, lambda x: F.max_pool2d(x, kernel, step, pad, ceil_mode=True), example(1, 2, *sides)
    )
    assert (found == ["aten.avg_pool2d.default", "aten.max_pool2d.default"]) == (sides != (17, 18))


@pytest.mark.parametrize("size", [1, 2, (5, 4), (7, 3), (10, 12), (3, 1)])
def test_adaptive_average_pooling(size: int | tuple[int, int]) -> None:
    forms = {_aten.adaptive_avg_pool2d.default: adaptive_average}
    found = operators(forms, lambda x: F.adaptive_avg_pool2d(x, size), example(2, 3, 10, 12))
    assert found.count("aten.linear.default") == found.count("aten.adaptive_avg_pool2d.default")  # of identities
    assert bool(found.count("aten.linear.default")) == (size in {(7, 3), (3, 1)})


@pytest.mark.parametrize("size", [1, 4, 5, 12])
def test_adaptive_average_pooling_of_sequences(size: int) -> None:
    forms = {_aten.adaptive_avg_pool1d.default: adaptive_average}
    found = operators(forms, lambda x: F.adaptive_avg_pool1d(x, size), example(2, 3, 12))
    assert "aten.linear.default" in found
    assert "aten.adaptive_avg_pool1d.default" not in found


@pytest.mark.parametrize(("kernel", "step", "pad"), [(2, 2, 0), (3, 2, 1), ((3, 2), (2, 3), (1, 0)), (3, None, 0)])
@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_averages_come_without_rounding_up_and_counted_padding(
    kernel: int | tuple[int, int],
    step: int | tuple[int, int] | None,
    pad: int | tuple[int, int],
    ceil: bool,
    inside: bool,
) -> None:
    pooled = Call(lambda x: F.avg_pool2d(x, kernel, step, pad, ceil_mode=ceil, count_include_pad=inside))
    given = example(1, 2, 9, 11)
    program = torch.export.export(pooled, (given,), strict=False)
    write_forms(program, {_aten.avg_pool2d.default: plain_average}, (given,))
    torch.testing.assert_close(program.module()(given), pooled(given))
    node = next(each for each in program.graph.nodes if each.target == _aten.avg_pool2d.default)
    defaults = (None, None, (), (0,), False, True)
    _, _, _, padding, rounds_up, counted = (*node.args, *defaults[len(node.args) :])
    assert not rounds_up
    assert not (counted and any(padding))


def test_maxima_over_windows_with_gaps_along_one_axis() -> None:
    forms = {_aten.max_pool1d.default: dilated_maximum}
    found = operators(forms, lambda x: F.max_pool1d(x, 3, 2, 1, dilation=2, ceil_mode=True), example(2, 3, 20))
    assert "aten.max_pool1d.default" not in found
    assert operators(forms, lambda x: F.max_pool1d(x, 3, 2, 1), example(2, 3, 20)) == ["aten.max_pool1d.default"]


@pytest.mark.parametrize("axes", [(2, 3), (1,), (-1,), (2,), (0, 1), (1, 2, 3), ()])
@pytest.mark.parametrize("keepdim", [False, True])
def test_maxima_and_minima_are_poolings(axes: tuple[int, ...], keepdim: bool) -> None:
    forms = {_aten.amax.default: largest_along, _aten.amin.default: smallest_along, _aten.max.dim: pooled_largest}
    found = operators(forms, lambda x: x.amax(axes, keepdim) - x.amin(axes, keepdim), example(2, 3, 4, 5))
    assert not {"aten.amax.default", "aten.amin.default"} & set(found)
    assert found.count("aten.max_pool2d.default") == 2
    apart = operators(
        forms, lambda x: x.amax((0, 2), keepdim) + x.transpose(1, 3).max(2).values.sum(), example(2, 3, 4, 5)
    )
    assert {"aten.amax.default", "aten.max_pool2d.default"} <= set(apart)
