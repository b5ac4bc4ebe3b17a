from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mobilevit_tools.forms import sums
from mobilevit_tools.forms._base import write_forms
from tests.forms.same import Call, example, operators

_aten = torch.ops.aten
ALPHA = {
    _aten.add.Tensor: sums.scaled_sum,
    _aten.sub.Tensor: sums.scaled_difference,
    _aten.rsub.Tensor: sums.scaled_reverse_difference,
    _aten.rsub.Scalar: sums.scaled_reverse_difference,
    _aten.lerp.Scalar: sums.mixture,
    _aten.lerp.Tensor: sums.mixture,
}
EINSUM = {_aten.einsum.default: sums.spelt_einsum}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.add(x, x.exp(), alpha=2),
        lambda x: torch.sub(x, x.exp(), alpha=0.5),
        lambda x: torch.rsub(x, x.exp(), alpha=3),
        lambda x: torch.rsub(x, 2.0, alpha=3),
        lambda x: torch.lerp(x, x.exp(), 0.3),
        lambda x: torch.lerp(x, x.exp(), x.sigmoid()),
    ],
)
def test_factors_of_sums_are_products(function: Callable[[Tensor], Any]) -> None:
    assert any("mul" in name for name in operators(ALPHA, function, example(2, 3)))


@pytest.mark.parametrize("value", [1, 2, 0.5])
def test_products_and_quotients_are_added(value: float) -> None:
    forms = {_aten.addcmul.default: sums.product_added, _aten.addcdiv.default: sums.quotient_added}
    for call, second in ((torch.addcmul, "mul"), (torch.addcdiv, "div")):
        found = operators(forms, lambda x, call=call: call(x, x.exp(), x.exp() + 1, value=value), example(2, 3))
        scaled = [] if value == 1 else ["aten.mul.Tensor"]
        assert found[-2 - len(scaled) :] == [f"aten.{second}.Tensor", *scaled, "aten.add.Tensor"]


@pytest.mark.parametrize(("exponent", "products"), [(3, 2), (4, 2), (2, 0), (0.5, 0)])
def test_third_and_fourth_powers_are_products(exponent: float, products: int) -> None:
    found = operators({_aten.pow.Tensor_Scalar: sums.whole_power}, lambda x: x.exp() ** exponent, example(2, 3))
    assert found.count("aten.mul.Tensor") == products


def test_sums_without_a_factor_stay() -> None:
    assert operators(ALPHA, lambda x: x + x, example(2, 3)) == ["aten.add.Tensor"]


def test_quotients() -> None:
    found = operators({_aten.reciprocal.default: sums.inverse}, lambda x: 1 / (x.abs() + 1), example(2, 3))
    assert "aten.reciprocal.default" not in found
    assert "aten.div.Tensor" in found


@pytest.mark.parametrize(("beta", "alpha"), [(1, 2), (0.3, 1), (0, 2), (3, 2)])
def test_factors_of_products_with_a_sum(beta: float, alpha: float) -> None:
    forms = {
        _aten.addmm.default: sums.scaled_product_sum,
        _aten.baddbmm.default: sums.scaled_product_sum,
    }
    for call in (
        lambda x: torch.addmm(x[0, 0], x[0], x[1], beta=beta, alpha=alpha),
        lambda x: torch.baddbmm(x, x, x, beta=beta, alpha=alpha),
    ):
        assert not [name for name in operators(forms, call, example(2, 3, 3)) if "add" in name and "mm" in name]


@pytest.mark.parametrize(
    ("equation", "second"),
    [
        ("...ij,...kj->...ik", (2, 3, 4, 5)),
        ("...ij,kj->...ik", (7, 5)),
        ("b...c,oc->b...o", (6, 5)),
        ("abcd, ...d -> a...", (4, 5)),
        ("...d,...d->...", (4, 5)),
    ],
)
def test_ellipses_are_spelt(equation: str, second: tuple[int, ...]) -> None:
    other = example(*second)
    operators(EINSUM, lambda x: torch.einsum(equation, x, other), example(2, 3, 4, 5))


def test_an_ellipsis_whose_axes_are_broadcast_stays() -> None:
    found = operators(EINSUM, lambda x: torch.einsum("...ij,...kj->...ik", x, x[:, :1]), example(2, 3, 4, 5))
    assert "aten.einsum.default" in found


def test_distances() -> None:
    forms = {_aten.cdist.default: sums.distances}
    assert "aten.cdist.default" not in operators(forms, lambda x: torch.cdist(x, x[:, :2] + 1), example(2, 3, 4))
    assert "aten.cdist.default" in operators(forms, lambda x: torch.cdist(x, x[:, :2] + 1, p=1), example(2, 3, 4))


def test_whole_numbers_beside_real_tensors_are_real_ones() -> None:
    forms = {each: sums.with_real_number(each) for each in (_aten.add.Tensor, _aten.mul.Tensor)}
    program = torch.export.export(Call(lambda x: (x + 1) * 2 + x.long() * 3), (example(2, 3),), strict=False)
    assert write_forms(program, forms, (example(2, 3),)) == {"aten.add.Tensor": 1, "aten.mul.Tensor": 1}
    numbers = [arg for node in program.graph.nodes for arg in node.args if type(arg) in {int, float}]
    assert sorted(numbers) == [1, 2, 3]
    assert [type(each) for each in sorted(numbers)] == [float, float, int]
