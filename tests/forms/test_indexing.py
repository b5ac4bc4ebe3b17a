from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mobilevit_tools.forms.indexing import placed_rows
from tests.forms.same import example, operators

_aten = torch.ops.aten


@pytest.mark.parametrize("places", [[0, 2], [2, 0], [-1, 0], [3], [1, 3, 2, 0]])
@pytest.mark.parametrize("axis", [1, 2])
def test_rows_at_places(places: list[int], axis: int) -> None:
    forms = {_aten.index_put.default: placed_rows}
    where = [*[None] * axis, torch.tensor(places)]

    def put(x: Tensor) -> list[Tensor]:
        rows = x.index_select(axis, torch.tensor(range(len(places)))) * 2
        number = torch.tensor(0.5, dtype=x.dtype)
        return [_aten.index_put.default(x, where, rows), _aten.index_put.default(x, where, number)]

    assert not [name for name in operators(forms, put, example(2, 4, 4)) if "index_put" in name]


def test_sums_at_places_and_places_along_two_axes_stay() -> None:
    forms = {_aten.index_put.default: placed_rows}
    both = (torch.tensor([0, 1]), torch.tensor([1, 1]))
    rows = torch.ones(2, dtype=torch.float64)
    assert "aten.index_put.default" in operators(forms, lambda x: x.index_put(both, rows), example(4, 4))
    assert "aten.index_put.default" in operators(
        forms, lambda x: x.index_put(both[:1], rows.unsqueeze(1), accumulate=True), example(4, 4)
    )
