from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilevit_tools.forms._base import write_forms
from mobilevit_tools.forms.widths import in_float32


class Narrow(nn.Module):
    """Computes in bfloat16 behind a float32 interface."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        maps = self.layer(x.bfloat16()).relu().flatten(2)
        return torch.cat([maps @ maps.mT, maps[..., :4].softmax(dim=-1)], dim=1).float()


def test_what_computes_in_bfloat16_is_computed_in_float32_and_rounded_once() -> None:
    example = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    module = Narrow().eval()
    program = torch.export.export(module, (example,), strict=False)
    with torch.no_grad():
        written = write_forms(program, in_float32(program, torch.bfloat16), (example,))
        assert set(written) == {"aten.conv2d.default", "aten.relu.default", "aten.matmul.default", "aten.softmax.int"}
        torch.testing.assert_close(program.module()(example), module(example), rtol=1e-2, atol=1e-2)
    computing = [node for node in program.graph.nodes if str(node.target) in written]
    assert computing
    assert {node.meta["val"].dtype for node in computing} == {torch.float32}


def test_a_program_of_float32_has_nothing_to_write() -> None:
    program = torch.export.export(nn.Conv2d(3, 4, 3), (torch.randn(1, 3, 8, 8),), strict=False)
    assert in_float32(program, torch.bfloat16) == {}
