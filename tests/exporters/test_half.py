"""A traced program in half precision with some of its operators in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilevit_tools.exporters._base import Half
from mobilevit_tools.exporters.half import HalfPrecision, MixedPrecision, in_half, trace_float32


class Squares(nn.Module):
    """Its squares leave the range of half precision; their root is back in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        large = self.first(x) * 1000
        return self.second((large * large).flatten(2).sqrt().reshape(large.shape)) / 1000


EXAMPLE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
REGION = ("mul_1", "sqrt")


def program(module: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(module, (EXAMPLE,), strict=False)


def test_kept_operators_hold_what_half_precision_cannot() -> None:
    module = Squares().eval()
    with torch.no_grad():
        expected = module(EXAMPLE)
        assert not HalfPrecision(module)(EXAMPLE).isfinite().all()
        mixed = MixedPrecision(program(module), REGION)(EXAMPLE)
    torch.testing.assert_close(mixed, expected, rtol=5e-3, atol=5e-3)
    assert mixed.dtype == torch.float32


def test_casts_are_only_where_the_widths_meet() -> None:
    exported = torch.export.export(MixedPrecision(program(Squares().eval()), REGION), (EXAMPLE,), strict=False)
    casts = [node for node in exported.graph.nodes if "to.dtype" in str(node.target)]
    # The input, the factors of the kept product (one value, cast once), the kept root, the output.
    assert len(casts) == 4
    wide = [
        str(node.target)
        for node in exported.graph.nodes
        if node.op == "call_function" and node not in casts
        if isinstance(value := node.meta.get("val"), Tensor) and value.dtype == torch.float32
    ]
    assert wide == ["aten.mul.Tensor", "aten.flatten.using_ints", "aten.sqrt.default", "aten.reshape.default"]


def test_weights_are_half_unless_a_kept_operator_reads_them_and_the_model_keeps_its_own() -> None:
    module = Squares().eval()
    types = {name: tensor.dtype for name, tensor in MixedPrecision(program(module), ["conv2d"]).named_parameters()}
    assert {name for name, kind in types.items() if kind == torch.float32} == {
        "module.first.weight",
        "module.first.bias",
    }
    assert len(types) == 4
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def test_nothing_kept_is_the_plain_half_module() -> None:
    module = Squares().eval()
    assert isinstance(in_half(module, Half(trace_float32(module, EXAMPLE), ())), HalfPrecision)
    assert isinstance(in_half(module, None), HalfPrecision)


def test_a_free_batch_stays_free() -> None:
    free = ({0: torch.export.Dim("batch", min=1)},)
    module = Squares().eval()
    mixed = in_half(module, Half(trace_float32(module, EXAMPLE, free), REGION))
    assert isinstance(mixed, MixedPrecision)
    exported = torch.export.export(mixed, (EXAMPLE,), dynamic_shapes=free, strict=False)
    assert exported.module()(torch.randn(5, 3, 4, 4)).shape == (5, 4, 4, 4)


def test_operators_in_place_are_traced_as_if_they_were_not() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)).eval()
    program = trace_float32(module, EXAMPLE)
    with torch.no_grad():
        found = in_half(module, Half(program, ("conv2d",)))(EXAMPLE)
        torch.testing.assert_close(found, module(EXAMPLE), rtol=5e-3, atol=5e-3)
    assert "aten.relu_.default" not in [str(node.target) for node in program.graph.nodes]


class Typed(nn.Module):
    """Converts constants to the type of what it is given, as many do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 1)
        self.register_buffer("places", torch.arange(4.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) * self.places.to(x.dtype).reshape(1, 4, 1, 1)


def test_types_that_a_trace_asserts_may_change() -> None:
    module = Typed().eval()
    traced = trace_float32(module, EXAMPLE)
    (kept,) = (node.name for node in traced.graph.nodes if "conv2d" in str(node.target))
    again = torch.export.export(MixedPrecision(traced, (kept,)), (EXAMPLE,), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(again.module()(EXAMPLE), module(EXAMPLE), rtol=5e-3, atol=5e-3)


class Upcast(nn.Module):
    """Computes its norm in float32, as many transformers do; its softmax runs in half precision as it is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2)
        tokens = self.norm(tokens.float()).to(tokens.dtype)
        return self.second(tokens.float().softmax(-1).type_as(tokens))


def test_a_module_that_asks_for_float32_where_its_weights_are_half_is_run_as_a_program() -> None:
    module = Upcast().eval()
    half = Half(trace_float32(module, EXAMPLE), ())
    in_half_precision = in_half(module, half)
    assert isinstance(in_half_precision, MixedPrecision)
    traced = torch.export.export(in_half_precision, (EXAMPLE,), strict=False)
    computing = [
        node for node in traced.graph.nodes if "layer_norm" in str(node.target) or "softmax" in str(node.target)
    ]
    assert [node.meta["val"].dtype for node in computing] == [torch.float16, torch.float16]
    with torch.no_grad():
        torch.testing.assert_close(traced.module()(EXAMPLE), module(EXAMPLE), rtol=5e-3, atol=5e-3)


def test_one_that_runs_keeps_the_types_that_it_asks_for() -> None:
    module = Typed().eval()
    assert isinstance(in_half(module, Half(trace_float32(module, EXAMPLE), ())), HalfPrecision)
