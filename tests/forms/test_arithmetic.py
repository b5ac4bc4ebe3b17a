from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mobilevit_tools.forms.arithmetic import angle, floor_quotient, log_of_sum, log_sigmoid, quotient, remainder
from tests.forms.same import example, operators

_aten = torch.ops.aten
FORMS = {
    _aten.remainder.Scalar: remainder,
    _aten.remainder.Tensor: remainder,
    _aten.div.Scalar_mode: quotient,
    _aten.div.Tensor_mode: quotient,
    _aten.floor_divide.default: floor_quotient,
    _aten.log_sigmoid.default: log_sigmoid,
    _aten.atan2.default: angle,
    _aten.logaddexp.default: log_of_sum,
}
NEAR_MULTIPLES = torch.round(20 * example(4, 50)) * 0.1


@pytest.mark.parametrize("y", [0.3, -0.3, 0.7, 2.0])
def test_by_a_number(y: float) -> None:
    found = operators(FORMS, lambda x: x % y + torch.div(x, y, rounding_mode="floor") + x // y, NEAR_MULTIPLES)
    assert not [name for name in found if "remainder" in name or "floor" in name]


def test_by_a_tensor_of_both_signs() -> None:
    divisor = torch.round(10 * example(50)) * 0.1 + 0.05
    found = operators(FORMS, lambda x: torch.remainder(x, divisor) - torch.floor_divide(x, divisor), NEAR_MULTIPLES)
    assert "aten.remainder.Tensor" not in found


def test_in_float32_the_forms_give_what_torch_gives_beside_multiples() -> None:
    x = NEAR_MULTIPLES.float()
    for y in (0.3, -0.1):
        torch.testing.assert_close(remainder(x, y), torch.remainder(x, y), rtol=0, atol=1e-7)
        assert torch.equal(floor_quotient(x, y), torch.floor_divide(x, y))
        assert torch.equal(quotient(x, y, rounding_mode="floor"), torch.div(x, y, rounding_mode="floor"))


@pytest.mark.parametrize(
    "function", [lambda x: x.long() % 3, lambda x: x.long() // 3, lambda x: torch.div(x, 0.3, rounding_mode="trunc")]
)
def test_integers_and_truncated_quotients_stay(function: object) -> None:
    assert len(operators(FORMS, function, NEAR_MULTIPLES)) <= 3


def test_the_logarithm_of_a_sigmoid_goes_on_where_the_sigmoid_is_zero() -> None:
    wide = torch.tensor([-2000.0, -120, -20, -1, 0, 1, 20, 120])
    operators(FORMS, F.logsigmoid, wide.double())
    torch.testing.assert_close(log_sigmoid(wide), F.logsigmoid(wide))


def test_the_angle_in_all_quadrants_and_on_the_axes() -> None:
    values = torch.tensor([-2.0, -1, -0.0, 0, 1, 3, float("inf")], dtype=torch.float64)
    y, x = torch.meshgrid(values[:-1], values[:-1], indexing="ij")
    assert "aten.atan2.default" not in operators(FORMS, lambda t: torch.atan2(t, x), y)
    signs = torch.signbit(angle(y, x)) == torch.signbit(torch.atan2(y, x))
    assert signs.all()


def test_the_logarithm_of_a_sum_of_exponentials_far_out() -> None:
    x = torch.tensor([-1e4, -90, 0, 1, 90, 1e4, float("inf"), -float("inf")])
    for y in (x, x.flip(0), x + 1):
        torch.testing.assert_close(log_of_sum(x, y), torch.logaddexp(x, y))
    operators(FORMS, lambda t: torch.logaddexp(t, 1.01 * t), x[:6].double())
