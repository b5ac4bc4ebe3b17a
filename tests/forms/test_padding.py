from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.forms.padding import sliced_padding
from tests.forms.same import example, operators

FORMS = {torch.ops.aten.pad.default: sliced_padding}
STAYS = "aten.pad.default"


@pytest.mark.parametrize("pad", [(1, 2), (1, 2, 3, 0), (2, 1, 0, 3, 1, 1), (-1, 2, 3, -2), (0, 0, 5, 5)])
@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_values_of_the_map(mode: str, pad: tuple[int, ...]) -> None:
    shape = {2: (2, 3, 6), 4: (2, 3, 6, 7), 6: (2, 3, 4, 6, 7)}[len(pad)]
    found = operators(FORMS, lambda x: F.pad(x, pad, mode), example(*shape))
    assert (STAYS in found) == (mode != "circular" and min(pad) >= 0 and len(pad) < 6)


@pytest.mark.parametrize("pad", [(-1, -2), (-1, 2, 3, -2)])
def test_constants_around_what_is_cropped(pad: tuple[int, ...]) -> None:
    operators(FORMS, lambda x: F.pad(x, pad, value=0.5), example(2, 3, 6, 7))


def test_constants_stay() -> None:
    assert operators(FORMS, lambda x: F.pad(x, (1, 2, 3, 4, 5, 6)), example(2, 3, 4)) == [STAYS]
