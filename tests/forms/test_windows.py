from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.forms.windows import columns, map_of_columns
from tests.forms.same import example, operators

_aten = torch.ops.aten
FORMS = {_aten.im2col.default: columns, _aten.col2im.default: map_of_columns}


@pytest.mark.parametrize(
    "given",
    [
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": (3, 2), "stride": (3, 2)},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1), "dilation": (2, 1)},
        {"kernel_size": 5, "stride": 5},  # the last rows and columns are in no window
    ],
)
def test_windows_as_columns(given: dict[str, Any]) -> None:
    found = operators(FORMS, lambda x: F.unfold(x, **given), example(2, 3, 12, 8))
    assert "aten.im2col.default" not in found
    assert ("aten.conv2d.default" in found) is (given["kernel_size"] not in (2, (3, 2)))


@pytest.mark.parametrize("kernel", [2, (3, 2)])
def test_columns_as_a_map(kernel: int | tuple[int, int]) -> None:
    down, right = (kernel, kernel) if isinstance(kernel, int) else kernel
    there = example(2, 3 * down * right, 12 * 8 // (down * right))
    found = operators(FORMS, lambda x: F.fold(x, (12, 8), kernel, stride=kernel), there)
    assert "aten.col2im.default" not in found


def test_windows_that_overlap_are_summed_up_by_the_operator() -> None:
    found = operators(FORMS, lambda x: F.fold(x, (12, 8), 3, padding=1), example(2, 9, 96))
    assert "aten.col2im.default" in found
