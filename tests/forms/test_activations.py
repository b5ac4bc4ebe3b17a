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
    exponential_mish,
    exponential_selu,
    hard_shrink,
    hard_sigmoid,
    kahan_log_sigmoid,
    kahan_softplus,
    prelu,
    sigmoid_gelu,
    soft_shrink,
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


LOGARITHMS = {
    _aten.softplus.default: kahan_softplus,
    _aten.log_sigmoid.default: kahan_log_sigmoid,
    _aten.mish.default: exponential_mish,
}


@pytest.mark.parametrize("function", [F.softplus, lambda x: F.softplus(x, 3.0), F.logsigmoid, F.mish])
def test_logarithms_of_sums_keep_their_small_values(function: Callable[[Tensor], Tensor]) -> None:
    values = torch.cat([30 * example(50), torch.tensor([-200.0, -18.0, -1e-9, 0.0, 18.0, 200.0], dtype=torch.float64)])
    found = operators(LOGARITHMS, function, values)
    assert not [name for name in found if "softplus" in name or "log_sigmoid" in name or "mish" in name]
    small = torch.tensor([-16.0, -30.0, -80.0])
    exact = function(small.double())
    written = {F.softplus: kahan_softplus, F.logsigmoid: kahan_log_sigmoid, F.mish: exponential_mish}.get(function)
    if written is not None:
        torch.testing.assert_close(written(small).double(), exact, rtol=1e-6, atol=0)


def test_a_softplus_with_a_threshold_that_shows_stays() -> None:
    assert operators(LOGARITHMS, lambda x: F.softplus(x, 1.0, 2.0), 5 * example(50)) == ["aten.softplus.default"]


@pytest.mark.parametrize("bound", [0.0, 0.5, 3.0])
def test_shrinking_needs_no_comparison(bound: float) -> None:
    forms = {_aten.softshrink.default: soft_shrink, _aten.hardshrink.default: hard_shrink}
    below, above = (torch.nextafter(torch.tensor(bound), torch.tensor(to)) for to in (-9.0, 9.0))
    edges = torch.stack([torch.tensor(bound), below, above, -above, torch.tensor(0.0)])
    for function in (F.softshrink, F.hardshrink):
        found = operators(forms, lambda x, f=function: f(x, bound), torch.cat([5 * example(50), edges.double()]))
        assert not [name for name in found if "shrink" in name]
    torch.testing.assert_close(hard_shrink(edges, bound), F.hardshrink(edges, bound), rtol=0, atol=1e-38)
