from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.forms.constants import fold_constants


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(1, 3, 4, 4))
        self.weight = nn.Parameter(torch.randn(8, 5))
        self.register_buffer("step", torch.arange(5.0))

    def forward(self, x: Tensor) -> Tensor:
        resized = F.interpolate(self.table, size=(8, 8), mode="bicubic") + torch.eye(8)
        moved = (x + resized) @ self.weight
        return moved * torch.sigmoid(self.step) + torch.randn(5) * 0


def test_what_weights_alone_give_is_stored() -> None:
    module, x = Table().eval(), torch.randn(2, 3, 8, 8)
    program = torch.export.export(module, (x,), strict=False).run_decompositions({})
    assert fold_constants(program) == 2
    left = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert not [name for name in left if "bicubic" in name or "eye" in name or "sigmoid" in name]
    assert any("randn" in name for name in left)
    torch.testing.assert_close(program.module()(x), module(x))
    again = program.run_decompositions({})
    torch.testing.assert_close(again.module()(x), module(x))
    assert fold_constants(program) == 0


def test_moved_weights_stay_weights() -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.t()

    program = torch.export.export(Moved(), (torch.randn(2, 8),), strict=False).run_decompositions({})
    assert fold_constants(program) == 0
