from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mobilevit_tools.exporters.xnnpack_forms import FORMS
from tests.forms.same import example, operators

MOVING = {
    "select",
    "unbind",
    "split",
    "split_with_sizes",
    "chunk",
    "squeeze",
    "unsqueeze",
    "detach",
    "expand",
    "expand_as",
    "repeat",
}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.select(1, -2).sum() * x[0],
        lambda x: x[:, 1, None],
        lambda x: torch.stack([2 * each for each in x.unbind(1)][::-1]).sum() * x,
        lambda x: x.split(2, dim=1)[1] * x.chunk(3, dim=-1)[0].sum(),
        lambda x: x.split([1, 2, 1], dim=1)[1] * 2,
        lambda x: x.unsqueeze(1).squeeze(1).unsqueeze(-1).squeeze() * x[..., :1].squeeze(-1).unsqueeze(2),
        lambda x: x.detach() * 2,
        lambda x: x.repeat(2, 1, 3) * x.repeat(1, 2, 1, 3).sum(),
        lambda x: x.expand(2, 4, 7) * x.expand(-1, -1, -1) * x[:, :1].expand_as(x),
    ],
)
def test_picks_splits_and_axes_of_one_are_slices_and_reshapes(function: Callable[[Tensor], Any]) -> None:
    found = operators(FORMS, function, example(2, 4, 7))
    assert not {name.split(".")[1] for name in found} & MOVING


@pytest.mark.parametrize(
    ("shifts", "dims"), [((-1, 2), (1, 2)), ((5,), (0,)), ((9,), (2,)), ((0,), (1,)), (3, ()), ((1, 1), (2, 2))]
)
def test_rolls(shifts: Any, dims: Any) -> None:
    found = operators(FORMS, lambda x: torch.roll(x, shifts, dims or None) * 2, example(2, 4, 7))
    assert "aten.roll.default" not in found


@pytest.mark.parametrize("places", [slice(None, None, 2), slice(1, None, 3), slice(1, 5, 2), slice(-3, None, 2)])
def test_slices_with_a_step(places: slice) -> None:
    found = operators(FORMS, lambda x: x[:, places] * x[..., places].sum(), example(2, 8, 7))
    assert found.count("aten.reshape.default") >= 4


def test_slices_without_a_step_stay() -> None:
    assert operators(FORMS, lambda x: x[:, 1:5] * 2, example(2, 8, 7)).count("aten.slice.Tensor") == 1


def test_a_broadcast_copy_is_a_sum_with_zeros() -> None:
    found = operators(FORMS, lambda x: x[:, :1].expand(2, 3, 7).cos(), example(2, 4, 7))
    assert "aten.add.Tensor" in found
    assert "aten.expand.default" not in found


def test_indices_stay() -> None:
    assert "aten.expand.default" in operators(FORMS, lambda x: x[:1].long().expand(3, -1).cos(), example(2, 4))
