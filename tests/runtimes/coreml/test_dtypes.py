from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.runtimes.coreml.dtypes import BY_NAME, unpack


def test_narrow_elements_fill_bytes_from_the_lowest_bit_and_straddle_them() -> None:
    np.testing.assert_array_equal(unpack(bytes([0b01101100, 0b11]), BY_NAME["uint2"], 5), [0, 3, 2, 1, 3])
    np.testing.assert_array_equal(unpack(bytes([0b11_010_001, 0b0_100_101_0]), BY_NAME["uint3"], 5), [1, 2, 3, 5, 4])
    np.testing.assert_array_equal(unpack(bytes([0xF1, 0x78]), BY_NAME["int4"], 4), [1, -1, -8, 7])


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        unpack(b"12", BY_NAME["fp32"], 1)
