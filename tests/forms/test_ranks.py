from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mobilevit_tools.forms._base import write_forms
from mobilevit_tools.forms.ranks import (
    largest,
    merge_reshapes,
    permuted,
    same,
    selected,
    transposed,
    unbound,
    unsqueezed,
)
from tests.forms.same import Call, example, operators

_aten = torch.ops.aten
MOST = 5
FORMS = {
    _aten.permute.default: permuted(MOST),
    _aten.transpose.int: transposed(MOST),
    _aten.select.int: selected(MOST),
    _aten.unbind.int: unbound(MOST),
    _aten.max.dim: largest(MOST),
    _aten.unsqueeze.default: unsqueezed(MOST),
    _aten.clone.default: same(MOST),
}


@pytest.mark.parametrize("shape", [(2, 3, 4, 2, 3, 2), (1, 3, 4, 1, 3, 2), (1, 1, 1, 1, 1, 2)])
def test_every_order_of_six_axes(shape: tuple[int, ...]) -> None:
    x = torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape)
    for order in itertools.permutations(range(6)):
        torch.testing.assert_close(FORMS[_aten.permute.default](x, order), x.permute(order), rtol=0, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.permute(0, 2, 4, 1, -3, 5).clone().reshape(8, 12, -1),
        lambda x: x.permute(3, 0, 4, 2, 1, 5).unbind(0)[1],
        lambda x: x.max(3).values + x.max(-3, keepdim=True).values.reshape(2, 3, 4, 3, 2),
        lambda x: x[:, 0].unsqueeze(2).select(2, 0),
        lambda x: x.transpose(-1, 1).select(-2, 1),
        lambda x: x[:, :, 1] + x.unbind(-2)[0][:, :, 1, 0].reshape(2, 3, 1, 1, 2),
    ],
)
def test_only_reshapes_have_six_axes(function: Callable[[Tensor], Any]) -> None:
    module = Call(lambda x: function(x.reshape(2, 3, 4, 2, 3, 2)))
    given = example(2, 3, 4, 12)
    program = torch.export.export(module, (given,), strict=False)
    write_forms(program, FORMS, (given,))
    torch.testing.assert_close(program.module()(given), module(given), rtol=0, atol=0)
    ranks = {node: node.meta["val"].dim() for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)}
    for node, rank in ranks.items():
        if max([rank, *(ranks[each] for each in node.all_input_nodes)]) > MOST:
            assert node.target == _aten.reshape.default


def test_five_axes_stay() -> None:
    found = operators(FORMS, lambda x: x.permute(4, 2, 0, 1, 3).select(0, 1).clone(), example(2, 3, 4, 2, 3))
    assert found == ["aten.permute.default", "aten.select.int", "aten.clone.default"]


def test_a_reshape_of_a_reshape_is_one() -> None:
    def parts(x: Tensor) -> Tensor:
        y = x.reshape(2, 3, 4, 2, 3, 2).clone()
        return y.reshape(6, 4, 12)[:, 1] + y.reshape(24, 12)[:6]

    given = example(2, 3, 4, 12)
    program = torch.export.export(Call(parts), (given,), strict=False)
    merge_reshapes(program)
    torch.testing.assert_close(program.module()(given), parts(given), rtol=0, atol=0)
    reshapes = [node for node in program.graph.nodes if "view" in str(node.target) or "reshape" in str(node.target)]
    assert [tuple(node.args[0].meta["val"].shape) for node in reshapes] == [(2, 3, 4, 12)] * 2
