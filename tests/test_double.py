"""Everything is float64 under :class:`InDouble`, also what asks for less, and nothing else is looked into."""

from __future__ import annotations

import pytest
import torch

from mobilevit_tools.double import InDouble


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


def test_a_copy_keeps_its_own_memo() -> None:
    table, memo = torch.ones(2), {}
    with InDouble():
        copied = table.__deepcopy__(memo)
    assert memo[id(table)] is copied  # a memo that is rebuilt at every call makes a copy quadratic, and unties weights
