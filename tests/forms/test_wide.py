from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.forms._base import write_forms
from mobilevit_tools.forms.ranks import merge_reshapes
from mobilevit_tools.forms.wide import merged, wide_forms
from tests.forms.same import Call, example, operators

_aten = torch.ops.aten
MOST = 5
CASES: dict[str, Callable[[Tensor], Any]] = {
    "of one": lambda x: F.gelu(x.abs().clamp(0.1, 2)) + F.hardswish(x).exp(),
    "of several": lambda x: (x[:, 0].unsqueeze(2) / x[:, :1, 0].exp()[:, :, None] * x[0, 0, 0] * 2).select(2, 0),
    "choice": lambda x: torch.where(x > x[:, :1, :, :, :1], x, x.mean()) + torch.maximum(x, x * 0.1),
    "softmax": lambda x: x.softmax(-1) * x.log_softmax(2) + x.cumsum(3),
    "parts": lambda x: x.chunk(2, 2)[1].repeat(1, 1, 2, 1, 1, 1) * x[:, :, 1:, :, ::2].sum() + F.glu(x).sum(),
    "unequal parts": lambda x: torch.cat([each * 2 for each in x.split([1, 3], 2)[::-1]], 2) + x.split(2, 4)[1].sum(),
    "joined": lambda x: torch.stack([x, x.flip(1, -1)], -1).squeeze().roll((1, -1), (0, 3)).roll(5),
    "repeated": lambda x: (
        x.repeat(1, 2, 1, 1, 3, 1) + x[:, :, :, :, :1].expand(2, 3, 4, 2, 9, 2).repeat(1, 2, 1, 1, 1, 1)
    ),
    "padded": lambda x: F.pad(x, (0, 1, 2, 0, -1, 0), value=0.5),
    "picked": lambda x: x[:, :, [2, 0, -1]],
    "normed": lambda x: F.layer_norm(x, (3, 2), torch.arange(6.0, dtype=x.dtype).reshape(3, 2)),
    "linear": lambda x: F.linear(x, torch.arange(6.0, dtype=x.dtype).reshape(3, 2), torch.ones(3, dtype=x.dtype)),
    "products": lambda x: x @ x[:1, :, :, :1].transpose(-1, -2) @ x + x @ torch.ones(2, 2, dtype=x.dtype),
}


@pytest.mark.parametrize("case", CASES)
def test_only_reshapes_have_six_axes(case: str) -> None:
    module = Call(lambda x: CASES[case](x.reshape(2, 3, 4, 2, 3, 2)))
    given = example(2, 3, 4, 12)
    program = torch.export.export(module, (given,), strict=False)
    write_forms(program, wide_forms(program, MOST), (given,))
    merge_reshapes(program)
    torch.testing.assert_close(program.module()(given), module(given), rtol=1e-12, atol=1e-12)
    axes = {node: _axes(node.meta.get("val")) for node in program.graph.nodes}
    for node, most in axes.items():
        if node.op == "call_function" and max([most, *(axes[each] for each in node.all_input_nodes)]) > MOST:
            assert node.target == _aten.reshape.default


def _axes(value: object) -> int:
    values = value if isinstance(value, list | tuple) else [value]
    return max((each.dim() for each in values if isinstance(each, Tensor)), default=0)


def test_what_has_few_axes_stays() -> None:
    def function(x: Tensor) -> Tensor:
        return torch.cat([x.relu().softmax(2), x[:, :, :, :1].expand(2, 3, 4, 2, 3)], 1).flip(0)

    given = example(2, 3, 4, 2, 3)
    program = torch.export.export(Call(function), (given,), strict=False)
    before = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert operators(wide_forms(program, MOST), function, given) == before


@pytest.mark.parametrize(
    "shapes",
    [[(2, 3, 1, 1, 4), (1, 1, 1, 5, 4)], [(1, 1), (1,)], [(0, 3), (1, 3)], [(2, 1, 3), (3,), ()], [(2, 2, 2)] * 3],
)
def test_merged_shapes_broadcast_to_as_many_values(shapes: list[tuple[int, ...]]) -> None:
    sizes, shape = merged(shapes)
    assert tuple(shape) == torch.broadcast_shapes(*shapes)
    values = [example(*each) for each in shapes]
    found = sum(each.reshape(size) for each, size in zip(values, sizes, strict=True))
    torch.testing.assert_close(torch.as_tensor(found).reshape(shape), torch.as_tensor(sum(values)))
