from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mobilevit_tools.forms._base import write_forms
from mobilevit_tools.forms.layouts import convert, copy
from tests.forms.same import Call, example

_aten = torch.ops.aten
FORMS = {
    _aten.contiguous.default: copy,
    _aten.clone.default: copy,
    _aten.to.dtype: convert,
    _aten.to.dtype_layout: convert,
}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.clone(memory_format=torch.channels_last),
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.to(dtype=torch.float32, memory_format=torch.channels_last),
    ],
)
def test_no_order_in_memory_is_left(function: Callable[[Tensor], Tensor]) -> None:
    given = example(1, 3, 4, 5)
    program = torch.export.export(Call(function), (given,), strict=False)
    assert write_forms(program, FORMS, (given,)).total() == 1
    result = program.module()(given)
    assert result.is_contiguous()
    assert result.dtype == function(given).dtype
    assert torch.equal(result, function(given))


def test_plain_copies_stay() -> None:
    given = example(1, 3, 4, 5)
    program = torch.export.export(Call(lambda x: x.clone() + x.mT.contiguous().mT), (given,), strict=False)
    assert not write_forms(program, FORMS, (given,))
