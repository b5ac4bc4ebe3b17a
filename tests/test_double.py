"""Everything is float64 under :class:`InDouble`, also what asks for less, and nothing else is looked into."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mobilevit_tools.double import InDouble

KEPT = torch.rand(3, 3)


@pytest.mark.parametrize(
    "narrow",
    [
        lambda x: x.float(),
        lambda x: x.half(),
        lambda x: x.to(torch.float32),
        lambda x: x.softmax(0, dtype=torch.float32),
        lambda x: x.type(torch.bfloat16),
        lambda x: x.to("cpu", dtype=torch.float16),
    ],
)
def test_whoever_asks_for_less_gets_float64(narrow: object) -> None:
    x = torch.full((3,), 1 / 3, dtype=torch.float64)
    with InDouble():
        assert narrow(x).dtype == torch.float64  # type: ignore[operator]
        assert x.to(torch.int32).dtype == torch.int32
    assert narrow(x).dtype != torch.float64  # type: ignore[operator]


def test_a_trace_that_foresaw_its_types_runs_with_wider_ones() -> None:
    class Masked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.zeros(3).to(device=x.device, dtype=torch.bool).logical_not()

    program = torch.export.export(Masked(), (torch.ones(3),), strict=False).module()
    with InDouble():
        assert program(torch.ones(3).double()).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "computed",
    [
        lambda x: x @ torch.eye(3),
        lambda x: functional.linear(x, torch.tensor([[0.1, 0.2, 0.3]])),
        lambda x: x @ KEPT,
        lambda x: torch.einsum("ij,jk->ik", x, KEPT),
        lambda x: torch.linalg.vecdot(x, KEPT[:1]),
        lambda x: functional.grid_sample(x[None, None], KEPT[None, :, :2].unsqueeze(1), align_corners=False),
        lambda x: x.scatter(0, torch.zeros(1, 3, dtype=torch.int64), KEPT),
        lambda x: torch.stack([x, torch.linspace(0, 1, 9).reshape(3, 3)]),
    ],
)
def test_constants_of_float32_are_widened_where_types_must_agree(computed: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(3, 3, dtype=torch.float64)
    with InDouble():
        assert computed(x).dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
    assert torch.eye(1).dtype == torch.float32


def test_a_tensor_that_is_changed_in_place_is_not_exchanged() -> None:
    table = torch.zeros(3)
    with InDouble(), pytest.raises(RuntimeError, match="dtype"):
        table.index_copy_(0, torch.tensor([1]), torch.ones(1).double())


def test_other_errors_stay_what_they_are_and_the_default_comes_back() -> None:
    with pytest.raises(RuntimeError, match="must match the size"), InDouble():
        _ = torch.ones(2) + torch.ones(3)
    assert torch.get_default_dtype() == torch.float32


def test_a_copy_keeps_its_own_memo() -> None:
    table, memo = torch.ones(2), {}
    with InDouble():
        copied = table.__deepcopy__(memo)
    assert memo[id(table)] is copied  # a memo that is rebuilt at every call makes a copy quadratic, and unties weights
