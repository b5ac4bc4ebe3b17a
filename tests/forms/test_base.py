"""Operators of a traced program are written in other forms, and each form is proved on real values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from mobilevit_tools.errors import MvtError
from mobilevit_tools.forms._base import Forms, functional, mutates, prove_same, write_forms
from mobilevit_tools.forms.attention import scaled_products

_aten = torch.ops.aten


class Net(nn.Module):
    """A convolution changed in place, two softmaxes that the program returns, and an operator of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.layer(x).relu_()
        return maps.softmax(dim=-1), maps.softmax(dim=1), F.adaptive_max_pool2d(maps, 2)


def flattened(x: Tensor, dim: int, dtype: Any = None) -> Any:
    return NotImplemented if dim % x.dim() != x.dim() - 1 else x.flatten(0, 2).softmax(dim=-1).view(x.shape)


def pooled(x: Tensor, size: list[int]) -> tuple[Tensor, None]:
    return F.max_pool2d(x, (x.shape[-2] // size[0], x.shape[-1] // size[1])), None


FORMS: Forms = {_aten.softmax.int: flattened, _aten.adaptive_max_pool2d.default: pooled}


def traced(module: nn.Module, example: Tensor, *, free: bool = False) -> ExportedProgram:
    shapes = ({0: Dim("batch", min=1)},) if free else None
    return torch.export.export(module.eval(), (example,), dynamic_shapes=shapes, strict=False)


def kinds(program: ExportedProgram) -> Counter[str]:
    return Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")


@pytest.mark.parametrize("free", [False, True])
def test_what_has_a_form_is_written_in_it_and_the_rest_stays(free: bool) -> None:
    module, example = Net(), torch.randn(2, 3, 10, 8)
    program = traced(module, example, free=free)
    names = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    assert write_forms(program, FORMS, (example,)) == {"aten.softmax.int": 1, "aten.adaptive_max_pool2d.default": 1}
    assert kinds(program)["aten.flatten.using_ints"] == 1
    assert kinds(program)["aten.softmax.int"] == 2
    assert "aten.adaptive_max_pool2d.default" not in kinds(program)
    assert [node.name for node in program.graph.nodes if node.op == "placeholder"] == names
    another = torch.randn(5, 3, 10, 8) if free else example
    for got, expected in zip(program.module()(another), module(another), strict=True):
        torch.testing.assert_close(got, expected)
    program.run_decompositions()


def test_the_line_of_the_source_and_the_order_of_outputs_survive() -> None:
    program = traced(Net(), torch.randn(1, 3, 10, 8))
    write_forms(program, FORMS, (torch.randn(1, 3, 10, 8),))
    (written,) = (node for node in program.graph.nodes if node.target is _aten.flatten.using_ints)
    assert "maps.softmax(dim=-1)" in written.meta["stack_trace"]
    assert [each.arg.name for each in program.graph_signature.output_specs] == [
        each.name for each in program.graph.output_node().args[0]
    ]


def test_an_output_that_is_read_and_not_made_keeps_the_operator() -> None:
    class Indices(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            values, indices = F.adaptive_max_pool2d(x, 2, return_indices=True)
            return values + indices

    example = torch.randn(1, 3, 8, 8)
    program = traced(Indices(), example)
    assert write_forms(program, FORMS, (example,)) == {}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda x, dim, dtype=None: x.softmax(dim=1), "differs from the operator"),
        (lambda x, dim, dtype=None: x.softmax(dim)[..., :-1], "a different shape"),
        (lambda x, dim, dtype=None: x.softmax(dim) * (1 + 1e-7), "differs from the operator"),
        (lambda x, dim, dtype=None: x.log().softmax(dim), "differs from the operator"),
    ],
    ids=["axis", "shape", "scale", "nan"],
)
def test_a_wrong_form_is_found_on_the_values_that_reach_it(form: Any, message: str) -> None:
    example = torch.randn(1, 3, 10, 8)
    with pytest.raises(MvtError, match=message):
        write_forms(traced(Net(), example), {_aten.softmax.int: form}, (example,))


def test_half_precision_is_proved_in_double() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.half().softmax(dim=-1).float()

    example = torch.randn(1, 3, 10, 8)
    program = traced(Half(), example)
    assert write_forms(program, FORMS, (example,)) == {"aten.softmax.int": 1}
    assert program.module()(example).dtype == torch.float32


def test_a_change_in_place_of_a_kind_that_has_a_form_is_written_too() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            y %= 0.3
            return y.relu_()

    example = torch.randn(1, 3, 8, 8)
    forms: Forms = {_aten.remainder.Scalar: lambda x, y: x - torch.floor(x / y) * y}
    program = functional(traced(InPlace(), example), forms)
    assert write_forms(program, forms, (example,)) == {"aten.remainder.Scalar": 1}
    torch.testing.assert_close(program.module()(example), InPlace()(example))


def test_what_changes_values_that_nobody_else_reads_is_written_without_the_change() -> None:
    example = torch.randn(1, 3, 10, 8)
    program = traced(Net(), example)
    assert functional(program, FORMS) is program
    assert not [node for node in program.graph.nodes if mutates(node)]
    for found, expected in zip(program.module()(example), Net()(example), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "forward",
    [
        lambda layer, x: (maps := layer(x)).sum() + maps.relu_(),
        lambda layer, x: (maps := layer(x)) + maps.flatten(1).relu_().sum(),
        lambda layer, x: (maps := layer(x)) + F.dropout(maps, training=False).relu_(),
        lambda layer, x: x.relu_() + 1,
        lambda layer, x: layer(x).half().add_(layer(x)),
    ],
    ids=["read again", "a view", "dropout gives its argument back", "the input", "another type"],
)
def test_changes_that_others_see_stay(forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
    class Changed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self.layer, x)

    example = torch.randn(1, 3, 4, 4)
    program = functional(traced(Changed(), example.clone()), FORMS)
    assert [node for node in program.graph.nodes if mutates(node)]
    torch.testing.assert_close(program.module()(example.clone()), Changed()(example.clone()))


def test_programs_are_compared_in_double_with_their_constants() -> None:
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.tensor([self.factor, 1.0]) / 3

    example = torch.randn(4, 2)
    programs = [torch.export.export(Scaled(factor), (example,)) for factor in (0.3, 0.3, 0.3 + 1e-6)]
    prove_same(programs[0], programs[1].run_decompositions(), (example,))
    with pytest.raises(MvtError, match="output 1 of the program"):
        prove_same(programs[0], programs[2], (example,))


def test_a_view_of_other_strides_than_were_foreseen_is_copied() -> None:
    class Viewed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x.permute(0, 2, 3, 1).reshape(1, -1))

    x = torch.rand(1, 3, 4, 5)
    foreseen = x.contiguous(memory_format=torch.channels_last)
    program = torch.export.export(Viewed(), (foreseen,)).run_decompositions({})
    assert _aten.view.default in [node.target for node in program.graph.nodes]
    assert write_forms(program, {_aten.relu.default: lambda x: x.clamp(min=0)}, (x,)) == {"aten.relu.default": 1}
    prove_same(program, program, (x,))


class Attended(nn.Module):
    """Attention whose kernel gives results in the order of tokens, of which torch foresees the last shape as a view."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x.reshape(1, 10, 2, 16).transpose(1, 2)
        seen = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=x.new_ones(10, 10).tril())
        return seen.transpose(1, 2).contiguous().view(1, 10, 32)


@torch.no_grad()
def test_a_form_may_lie_in_another_order_in_memory() -> None:
    module, example = Attended(), torch.randn(1, 10, 32, dtype=torch.float64)
    program = traced(module, example)
    write_forms(program, {_aten.scaled_dot_product_attention.default: scaled_products}, (example,))
    again = program.run_decompositions({})
    torch.testing.assert_close(again.module()(example), module(example))


class Checked(nn.Module):
    """A model that checks a value while it runs."""

    def forward(self, x: Tensor) -> Tensor:
        torch._check((x.shape[1] == torch.tensor([3])).all().item())
        return x.double().float() * 2


def test_assertions_are_left_out() -> None:
    example = torch.randn(1, 3, 4, 4)
    program = traced(Checked(), example)
    assert any("assert" in name for name in kinds(program))
    write_forms(program, {}, (example,))
    assert [name for name in kinds(program) if "assert" in name or "item" in name] == []
    torch.testing.assert_close(program.module()(example), 2 * example)
