"""Half precision, carried in float32."""

from __future__ import annotations

import numpy as np
import torch

from mobilevit_tools.half import half, half_scalar


def test_half_rounds_to_even_and_overflows_to_infinity() -> None:
    values = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, 65519.0, 65520.0, -70000.0, 2**-25, 2**-24, float("nan")])
    expected = [1.0, 1 + 2**-9, 65504.0, np.inf, -np.inf, 0.0, 2**-24, np.nan]
    np.testing.assert_array_equal(half(values), np.array(expected, np.float32))
    assert half(values).dtype is torch.float32


def test_small_scalars_do_not_round_to_zero() -> None:
    assert half_scalar(1e-12) == 2**-24
    assert half_scalar(-1e-12) == -(2**-24)
    assert half_scalar(0.0) == 0
    assert half_scalar(0.1) == float(np.float16(0.1))
    assert half_scalar(1e6) == float("inf")
