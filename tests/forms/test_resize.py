from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.forms._base import write_forms
from mobilevit_tools.forms.resize import bicubic_to_size, bilinear_to_size
from tests.forms.same import Call, example

_aten = torch.ops.aten
FORMS = {_aten._upsample_bilinear2d_aa.vec: bilinear_to_size, _aten._upsample_bicubic2d_aa.vec: bicubic_to_size}


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("factor", "written"), [(0.5, True), ((0.5, 0.25), True), (0.6, False), (1.7, False)])
def test_a_factor_that_is_the_ratio_of_the_sizes_becomes_a_size(mode: str, factor: object, written: bool) -> None:
    given = example(1, 2, 8, 12)
    program = torch.export.export(
        Call(lambda x: F.interpolate(x, scale_factor=factor, mode=mode, antialias=True)), (given,), strict=False
    )
    assert bool(write_forms(program, FORMS, (given,))) == written
    (node,) = (each for each in program.graph.nodes if each.target in FORMS)
    assert (len(node.args) < 4 or node.args[3] is None) == written
