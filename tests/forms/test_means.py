from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.exporters.xnnpack_forms import FORMS
from tests.forms.same import example, operators

REDUCTIONS = {"mean", "sum", "var", "std", "var_mean", "linalg_vector_norm"}


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("axes", [0, 1, 2, -1, (1, 2), (2, 3), (1, 3), (0, 2), (0, 1, 2, 3)])
def test_any_axes(axes: Any, keepdim: bool) -> None:
    def function(x: torch.Tensor) -> Any:
        return (
            x.mean(axes, keepdim=keepdim),
            x.sum(axes, keepdim=keepdim),
            x.var(axes, correction=0, keepdim=keepdim),
            x.std(axes, keepdim=keepdim),
            torch.linalg.vector_norm(x, 2, axes, keepdim),
            torch.linalg.vector_norm(x, 1, axes, keepdim),
        )

    found = operators(FORMS, function, 3 + example(2, 3, 4, 5))
    left = [name for name in found if name.split(".")[1] in REDUCTIONS]
    assert set(left) <= {"aten.mean.dim"}  # of a map, which is a pooling


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (1, 1, 1, 7), (2, 3, 1, 7), (2, 1, 2, 2, 3)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    found = operators(
        FORMS, lambda x: (x.mean(), x.sum(), x.mean(-1), F.normalize(x, dim=-1), x.mean(0)), example(*shape)
    )
    assert not [name for name in found if name.split(".")[1] in REDUCTIONS]


def test_variances_of_either_kind_and_the_mean_beside_one() -> None:
    x = 3 + example(2, 3, 7)
    assert "aten.var.dim" not in operators(FORMS, lambda x: (x.var(1, unbiased=False), x.std(2)), x)
    assert "aten.var_mean.correction" not in operators(FORMS, lambda x: torch.var_mean(x, (1, 2), correction=0), x)


def test_the_mean_of_a_map_that_keeps_its_axes_and_sums_of_integers_stay() -> None:
    assert operators(FORMS, lambda x: x.mean((2, 3), keepdim=True), example(2, 3, 4, 5)) == ["aten.mean.dim"]
    assert "aten.sum.dim_IntList" in operators(FORMS, lambda x: x.long().sum(1), 9 * example(2, 3))


def test_a_large_map_is_averaged_in_windows_first() -> None:
    mean = lambda x: x.mean((2, 3), keepdim=True)  # noqa: E731
    found = operators(FORMS, mean, example(1, 2, 56, 48))
    assert found[:2] == ["aten.avg_pool2d.default", "aten.mean.dim"]
    assert operators(FORMS, mean, example(1, 2, 67, 71)) == ["aten.mean.dim"]  # nothing divides it
