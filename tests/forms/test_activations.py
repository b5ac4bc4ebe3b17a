from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.forms._base import Form
from mobilevit_tools.forms.activations import (
    exponential_celu,
    exponential_elu,
    exponential_selu,
    hard_sigmoid,
    prelu,
    sigmoid_gelu,
    tanh_gelu,
    whole_bounds,
)
from tests.forms.same import example, operators

_aten = torch.ops.aten


@pytest.mark.parametrize("form", [tanh_gelu, sigmoid_gelu])
def test_tanh_gelu_is_written_out_and_the_exact_one_stays(form: Form) -> None:
    forms = {_aten.gelu.default: form}
    assert "aten.gelu.default" not in operators(forms, lambda x: F.gelu(x, approximate="tanh"), 4 * example(2, 50))
    assert operators(forms, F.gelu, example(2, 50)) == ["aten.gelu.default"]


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 4, 5), (2, 4, 5, 3), (1, 4, 2, 3, 2)])
@pytest.mark.parametrize("each", [False, True])
def test_prelu_has_one_slope_or_one_for_each_channel(shape: tuple[int, ...], each: bool) -> None:
    weight = example(4 if each and len(shape) > 1 else 1)
    found = operators({_aten.prelu.default: prelu}, lambda x: F.prelu(x, weight), example(*shape))
    assert "aten.prelu.default" not in found


def test_a_hard_tanh_between_integers_becomes_a_clamp_between_floats() -> None:
    forms = {_aten.hardtanh.default: whole_bounds}
    assert operators(forms, lambda x: F.hardtanh(3 * x, -1, 2), example(50))[-1] == "aten.clamp.default"
    assert "aten.hardtanh.default" in operators(forms, F.hardtanh, example(50))


@pytest.mark.parametrize("function", [F.elu, lambda x: F.elu(x, 0.3), F.selu, F.celu, lambda x: F.celu(x, 0.3)])
def test_elu_in_exponentials_of_what_is_below_zero(function: Callable[[Tensor], Tensor]) -> None:
    forms = {
        _aten.elu.default: exponential_elu,
        _aten.selu.default: exponential_selu,
        _aten.celu.default: exponential_celu,
    }
    assert not [
        name for name in operators(forms, function, 50 * example(2, 50)) if "elu.d" in name and "relu" not in name
    ]


def test_a_hard_sigmoid_is_a_clamp_between_real_numbers() -> None:
    found = operators({_aten.hardsigmoid.default: hard_sigmoid}, F.hardsigmoid, 5 * example(2, 50))
    assert found == ["aten.add.Tensor", "aten.clamp.default", "aten.div.Tensor"]
