from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.forms._base import check_results, results_in_double
from mobilevit_tools.forms.constants import fold_constants
from mobilevit_tools.forms.maps import keep_maps, maps_to_keep


class Block(nn.Module):
    """ConvNeXt V2's block: a norm, two layers, a response norm and a scale on maps with their channels last."""

    def __init__(self, tail: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mixing = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.LayerNorm(6, eps=1e-3)
        self.wide, self.narrow = nn.Linear(6, 12), nn.Linear(12, 6, bias=False)
        self.weight, self.bias = nn.Parameter(torch.randn(12)), nn.Parameter(torch.randn(12))
        self.scale = nn.Parameter(torch.randn(6))
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.wide(self.norm(self.mixing(x).permute(0, 2, 3, 1))))
        sizes = y.norm(p=2, dim=(1, 2), keepdim=True)
        shares = sizes / (sizes.mean(dim=-1, keepdim=True) + 1e-6)
        y = y + torch.addcmul(self.bias.view(1, 1, 1, -1), self.weight.view(1, 1, 1, -1), y * shares)
        return x + self.tail(self.narrow(y) * self.scale)


def turned(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def kept(module: nn.Module) -> tuple[int, Counter[str]]:
    """Keep the maps of a program; return how many groups there were, and the operators that the program has then."""
    image = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    program = torch.export.export(module.eval(), (image,), strict=False)
    fold_constants(program, moved=True)
    expected = results_in_double(program, (image,))
    found = maps_to_keep(program)
    keep_maps(program, found)
    check_results(program, (image,), expected)
    torch.testing.assert_close(program.module()(image), module(image), rtol=1e-4, atol=1e-4)
    return len(found), Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")


def test_a_block_between_two_turns_has_none_left() -> None:
    groups, left = kept(Block(turned))
    assert groups == 1
    assert "aten.permute.default" not in left
    assert not [name for name in left if "linear" in name or "layer_norm" in name]


def test_what_others_read_is_turned_for_them() -> None:
    groups, left = kept(Block(lambda y: turned(y) + turned(y.relu()) * y.flip(1).mean()))
    assert groups == 1
    assert left["aten.permute.default"] == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.permute(0, 2, 3, 1).relu().flip(1),  # turned once either way
        lambda x: turned(x.permute(0, 2, 3, 1).cumsum(-1)),  # unknown
        lambda x: turned(x.permute(0, 2, 3, 1) + x.reshape(2, 5, 4, 6)),  # beside a value of its own
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4, 6)).permute(0, 3, 1, 2),  # over two axes
        lambda x: x.permute(0, 3, 1, 2).relu().permute(0, 2, 3, 1),  # another order
    ],
)
def test_others_stay(function: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    assert kept(Net())[0] == 0
