from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobilevit_tools.exporters.coreml_forms import FORMS
from tests.forms.same import example, operators


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.std(),
        lambda x: x.var(),
        lambda x: x.std(unbiased=False),
        lambda x: torch.var(x, correction=3),
        lambda x: torch.std(x, correction=0, keepdim=True),
    ],
)
def test_corrections_over_all_values(function: Callable[[Tensor], Any]) -> None:
    assert not [name for name in operators(FORMS, function, example(2, 3, 4)) if "std" in name or "var" in name]


@pytest.mark.parametrize("keepdim", [False, True])
def test_the_place_of_the_largest_of_all(keepdim: bool) -> None:
    for find in (torch.argmax, torch.argmin):
        operators(FORMS, lambda x, find=find: find(x, keepdim=keepdim), example(2, 3, 4))
        operators(FORMS, lambda x, find=find: find(x, 1, keepdim), example(2, 3, 4))


@pytest.mark.parametrize("affine", [False, True])
def test_an_instance_norm_with_statistics_of_its_own(affine: bool) -> None:
    norm = nn.InstanceNorm2d(3, affine=affine, track_running_stats=True).eval().double()
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    found = operators(FORMS, norm, example(2, 3, 4, 4))
    assert "aten.instance_norm.default" not in found


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("reduce", [torch.sum, torch.mean, torch.amax, torch.amin])
def test_reductions_of_many_axes_are_over_one_of_two(reduce: Callable[..., Tensor], keepdim: bool) -> None:
    x = example(2, 3, 2, 3, 2, 2)
    assert "aten.permute.default" in operators(FORMS, lambda x: reduce(x, dim=(-1, 1, 3), keepdim=keepdim), x)
    assert "aten.permute.default" not in operators(FORMS, lambda x: reduce(x, dim=(1, 3), keepdim=keepdim), x[0])
