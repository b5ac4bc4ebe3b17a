from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mobilevit_tools.forms._base import check_results, results_in_double
from mobilevit_tools.forms.folded import fold_norms, norms_to_fold


class Layer(nn.Module):
    """LeViT's layer: a batch norm over the channels of all tokens together."""

    def __init__(self, bias: bool, affine: bool, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm = nn.Linear(5, 6, bias=bias), nn.BatchNorm1d(6, affine=affine, eps=1e-2)
        for each in self.norm.parameters():
            each.data.normal_()
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return self.norm(self.between(y)).reshape(y.shape[0], -1)


def folded(module: nn.Module, *shape: int) -> tuple[int, Counter[str]]:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    program = torch.export.export(module.eval(), (image,), strict=False)
    expected = results_in_double(program, (image,))
    found = norms_to_fold(program)
    fold_norms(program, found)
    check_results(program, (image,), expected)
    return len(found), Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_a_norm_of_tokens_becomes_part_of_its_layer(bias: bool, affine: bool) -> None:
    places, left = folded(Layer(bias, affine, lambda y: y.flatten(0, 1)), 2, 3, 5)
    assert places == 1
    assert left["aten.linear.default"] == 1
    assert "aten.batch_norm.default" not in left


@pytest.mark.parametrize(
    ("between", "shape"),
    [
        (lambda y: y.flatten(0, 1) + y.mean(), (2, 3, 5)),  # read by somebody else
        (lambda y: y.relu().flatten(0, 1), (2, 3, 5)),  # not the layer's own values
        (lambda y: y, (2, 6, 5)),  # over another axis
        (lambda y: y.transpose(0, 1).reshape(6, 6), (6, 5)),  # other channels
    ],
)
def test_others_stay(between: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    places, left = folded(Layer(True, True, between), *shape)
    assert places == 0
    assert left["aten.batch_norm.default"] == 1
