"""What half precision cannot hold is named, and the least that must stay in float32 is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import UsageError
from mobilevit_tools.precision import preflight as preflight_module
from mobilevit_tools.precision.preflight import run_preflight
from mobilevit_tools.precision.record import Preflight
from mobilevit_tools.precision.simulation import Simulation
from mobilevit_tools.verification.inputs import VerificationInput, build_inputs
from mobilevit_tools.verification.reference import torch_reference
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import GATES

CONTRACT = Contract("tiny", Preprocessing(input_size=(8, 8)))
INPUTS = build_inputs(CONTRACT.preprocessing, [])


class Norm(nn.Module):
    """A root mean square whose squares are large; the last step needs no more range than the first."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        squares = (x * self.scale) * (x * self.scale)
        rms = squares.reshape(x.shape[0], x.shape[1], -1).mean(dim=-1).sqrt()
        return x / (rms[..., None, None] + 1e-3) * self.scale


class Tiny(nn.Module):
    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 1)
        self.middle = middle
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.middle(self.stem(x))).mean(dim=(2, 3)))


def fly(module: nn.Module, keep: Sequence[str] | None = None) -> Preflight:
    with torch.no_grad():
        return run_preflight(traced(module), CONTRACT, torch_reference(module), INPUTS, keep)


def traced(module: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(module.eval().requires_grad_(False), (torch.zeros(1, 3, 8, 8),), strict=False)


def meets_gate(module: nn.Module, keep: Sequence[str], inputs: Sequence[VerificationInput] = INPUTS) -> bool:
    simulation = Simulation(traced(module).module(check_guards=False), CONTRACT, keep=keep)
    return verify_session(simulation, torch_reference(module), inputs, GATES["fp16"]).status == "passed"


def test_a_healthy_model_keeps_nothing_and_costs_one_run_an_input() -> None:
    result = fly(Tiny(nn.BatchNorm2d(4)))
    assert result.keep == ()
    assert result.plain is None
    assert result.runs == len(INPUTS)
    assert result.values >= 5


def test_the_region_of_an_overflow_is_kept_from_its_start_to_its_end_and_nothing_else() -> None:
    model = Tiny(Norm(300.0))
    result = fly(model)
    assert result.plain
    assert result.restored
    assert result.minimal
    assert result.runs <= 50
    names = [each.name for each in result.keep]
    # Squares and their mean are out of range; the root reads them and is in range again. The reshape is no operator.
    assert [each.operator for each in result.keep] == ["aten.mul", "aten.mean", "aten.sqrt"]
    assert {each.module for each in result.keep} == {"middle"}
    assert all("overflow" in each.reason for each in result.keep)
    assert meets_gate(model, names)
    for name in names:
        assert not meets_gate(model, [each for each in names if each != name])


def test_attention_of_pytorch_runs_however_its_result_lies_in_memory() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            return self.attention(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape_as(x)

    model = Tiny(Attention())
    program = traced(model).run_decompositions({})  # as Core ML takes it, with views in place of reshapes
    with torch.no_grad():
        result = run_preflight(program, CONTRACT, torch_reference(model), INPUTS, None)
    assert (result.keep, result.plain) == ((), None)


def test_inputs_of_one_name_are_judged_by_their_own_reference() -> None:
    inputs = [replace(item, name="0.png") for item in INPUTS]
    for model, overflows in ((Tiny(nn.BatchNorm2d(4)), False), (Tiny(Norm(300.0)), True)):
        with torch.no_grad():
            result = run_preflight(traced(model), CONTRACT, torch_reference(model), inputs)
        assert (result.plain is not None) == overflows
        assert result.keep == tuple(
            replace(each, reason=each.reason.replace("large activations", "0.png")) for each in fly(model).keep
        )


def test_overflows_are_found_by_name_module_and_size() -> None:
    found = {each.name: each for each in fly(Tiny(Norm(300.0))).findings if each.kind == "overflow"}
    assert {each.module for each in found.values()} == {"middle"}
    largest = max(found.values(), key=lambda each: each.largest)
    assert largest.operator == "aten.mul"
    assert largest.input == "large activations"
    assert largest.largest > 65504


def test_a_divisor_that_vanishes_is_kept() -> None:
    class Vanishing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            small = torch.sigmoid(x) * 1e-5
            return x / (small * small) * 1e-9

    result = fly(Tiny(Vanishing()))
    assert result.restored
    assert result.minimal
    assert any(each.reason.startswith("underflow") for each in result.keep)
    assert any(each.kind == "underflow" and each.module == "middle" for each in result.findings)


def test_each_figure_names_the_input_that_it_comes_from() -> None:
    class Squares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x * x * x * x * x * 1e-3

    quiet, loud = (
        VerificationInput(name, "noise", np.full((1, 3, 8, 8), value, np.float32), None)
        for name, value in (("quiet", 1e-2), ("loud", 10.0))
    )
    model = nn.Sequential(Squares(), nn.Flatten(), nn.Linear(192, 5))
    for inputs in ([quiet, loud], [loud, quiet]):
        with torch.no_grad():
            result = run_preflight(traced(model), CONTRACT, torch_reference(model), inputs)
        vanished = [each for each in result.findings if each.kind == "underflow"]
        assert vanished
        assert {each.input for each in vanished} == {"quiet"}
        overflown = [each for each in result.findings if each.kind == "overflow"]
        assert overflown
        assert {each.input for each in overflown} == {"loud"}
        assert {each.largest > 65504 for each in overflown} == {True}


def test_weights_of_kept_operators_are_not_rounded() -> None:
    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((4, 1, 1), 1.0004))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight - x) * 1000

    model = Tiny(Cancelling())
    result = fly(model)
    assert result.restored
    assert "aten.mul" in {each.operator for each in result.keep}


def test_every_result_is_rounded_inside_composite_operators_too() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("nchw,nchw,nchw->nchw", 60 * x, 60 * x, 1e-3 + 0 * x)

    model = Tiny(Product())
    mild = [item for item in INPUTS if item.kind == "noise"]
    assert [str(node.target) for node in traced(model).graph.nodes if "einsum" in str(node.target)]
    assert meets_gate(model, [], mild)
    large = [item for item in INPUTS if item.name == "large activations"]
    assert not meets_gate(model, [], large)


def test_a_given_list_is_taken_as_it_is() -> None:
    model = Tiny(Norm(300.0))
    result = fly(model, ["middle", "linear"])
    assert {each.module for each in result.keep} == {"middle", "head"}
    assert {each.reason for each in result.keep} == {"asked for"}
    assert result.restored is None
    assert result.runs == 0
    assert fly(model, []).keep == ()


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="middel") as caught:
        fly(Tiny(Norm(300.0)), ["middel"])
    assert "middle" in (caught.value.hint or "")


def test_a_search_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_module, "MAX_RUNS", 2)
    result = fly(Tiny(Norm(300.0)))
    assert result.restored
    assert not result.minimal
    assert meets_gate(Tiny(Norm(300.0)), [each.name for each in result.keep])


def test_the_search_is_deterministic() -> None:
    assert fly(Tiny(Norm(300.0))) == fly(Tiny(Norm(300.0)))


def test_probabilities_are_judged_by_their_logits() -> None:
    class Image(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, pixels: Tensor) -> Tensor:
            return torch.softmax(self.module(pixels / 255), dim=-1)

    model = Tiny(nn.BatchNorm2d(4)).eval().requires_grad_(False)
    contract = Contract("tiny", CONTRACT.preprocessing, input="image", output="probabilities")
    module = traced(Image(model)).module(check_guards=False)
    pixels = np.full((1, 3, 8, 8), 128, np.uint8)
    logits, probabilities = Simulation(module, contract, rounds=False).run(pixels)
    expected = model(torch.full((1, 3, 8, 8), 128 / 255)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
