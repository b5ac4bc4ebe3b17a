from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.runtimes.coreml.building import PROPERTY, computed, mb, noise, saved_cases

AVERAGE = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d]
MAX = [F.max_pool1d, F.max_pool2d, F.max_pool3d]

BUILDS = {
    "max": lambda x: mb.max_pool(x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
    "max_ceil": lambda x: mb.max_pool(
        x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True
    ),
    "max_same": lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="same"),
    "max_same_lower": lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="same_lower"),
    "avg": lambda x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[1, 1], pad_type="custom", pad=[1, 1, 1, 1]),
    "avg_excluded": lambda x: mb.avg_pool(
        x=x,
        kernel_sizes=[3, 3],
        strides=[1, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
        exclude_padding_from_average=True,
    ),
    "avg_ceil": lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True),
    "avg_ceil_excluded": lambda x: mb.avg_pool(
        x=x,
        kernel_sizes=[2, 2],
        strides=[2, 2],
        pad_type="valid",
        ceil_mode=True,
        exclude_padding_from_average=True,
    ),
    "l2": lambda x: mb.l2_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = saved_cases(BUILDS, (2, 3, 7, 6), tmp_path_factory.mktemp("pool") / "a.mlpackage")
    return program.run({"x": noise(2, 3, 7, 6) - 2})


def test_saved_pools_match_torch(outputs: dict[str, Any]) -> None:
    x = torch.from_numpy(noise(2, 3, 7, 6) - 2)
    far = F.pad(x, (0, 0, 0, 1), value=-1e30)  # 7 rows make 4 windows of 2: one row is added, after or before
    before = F.pad(x, (0, 0, 1, 0), value=-1e30)
    expected = {
        "max": F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-1e30), (3, 2), 2),
        "max_ceil": F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        "max_same": F.max_pool2d(far, 2, 2),
        "max_same_lower": F.max_pool2d(before, 2, 2),
        "avg": F.avg_pool2d(x, 3, 1, 1),
        "avg_excluded": F.avg_pool2d(x, 3, (1, 2), 1, count_include_pad=False),
        "avg_ceil": F.avg_pool2d(F.pad(x, (0, 0, 0, 1)), 2, 2),  # what hangs over counts as padding
        "avg_ceil_excluded": F.avg_pool2d(x, 2, 2, ceil_mode=True),
        "l2": F.lp_pool2d(x, 2, 2, 2),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5, err_msg=name)


@PROPERTY
@given(data=st.data(), dims=st.integers(1, 3), ceil_mode=st.booleans(), exclude=st.booleans())
def test_pools_with_symmetric_padding_are_torchs(
    data: st.DataObject, dims: int, ceil_mode: bool, exclude: bool
) -> None:
    draw = data.draw
    sizes = [draw(st.integers(4, 8)) for _ in range(dims)]
    kernel = [draw(st.integers(2, 3)) for _ in range(dims)]
    strides = [draw(st.integers(1, 3)) for _ in range(dims)]
    pad = draw(st.integers(0, 1))
    x = noise(1, 2, *sizes) + 3
    arguments = {
        "x": x,
        "kernel_sizes": tuple(kernel),
        "strides": tuple(strides),
        "pad_type": "custom",
        "pad": (pad, pad) * dims,
        "ceil_mode": ceil_mode,
    }
    tensor = torch.from_numpy(x)
    theirs = MAX[dims - 1](tensor, kernel, strides, pad, 1, ceil_mode)
    ours = computed("max_pool", **arguments)
    inside = tuple(slice(size) for size in theirs.shape)  # see the next test for where torch makes fewer windows
    np.testing.assert_array_equal(ours[inside], theirs)
    average = AVERAGE[dims - 1](tensor, kernel, strides, pad, ceil_mode, not exclude)
    if ceil_mode and not exclude:  # the last windows are divided by the whole kernel: see the next but one test
        average = AVERAGE[dims - 1](F.pad(tensor, (pad, pad + 9) * dims), kernel, strides)[inside]
    ours = computed("avg_pool", **arguments, exclude_padding_from_average=exclude)
    np.testing.assert_allclose(ours[inside], average, rtol=1e-5)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("pad", [0, 1])
def test_the_number_of_windows_is_coremltools(pad: int, ceil_mode: bool) -> None:
    from coremltools.converters.mil.mil.ops.defs._utils import spatial_dimensions_out_shape

    for size, kernel, stride in itertools.product(range(4, 10), (2, 3), (1, 2, 3)):
        arguments = {"kernel_sizes": (kernel,), "strides": (stride,), "pad": (pad, pad), "ceil_mode": ceil_mode}
        ours = computed("max_pool", x=noise(1, 1, size), pad_type="custom", **arguments)
        expected = spatial_dimensions_out_shape("custom", (size,), (kernel,), (stride,), None, (pad, pad), ceil_mode)
        assert list(ours.shape[2:]) == expected, (size, kernel, stride)
        windows = F.max_pool1d(torch.from_numpy(noise(1, 1, size)), kernel, stride, pad, 1, ceil_mode)
        if pad or stride <= kernel:  # else torch drops a last window that starts past the input; the format keeps it
            np.testing.assert_array_equal(ours, windows)


def test_an_average_over_the_edge_is_divided_by_the_whole_kernel() -> None:
    x = np.arange(49, dtype=np.float32).reshape(1, 1, 7, 7)
    arguments = {"x": x, "kernel_sizes": (2, 2), "strides": (3, 3), "ceil_mode": True}
    # As reported of Core ML itself in coremltools issue 2772; PyTorch has 9.5 at the right end of the first row.
    expected = [[4, 7, 4.75], [25, 28, 15.25], [21.25, 22.75, 12]]
    np.testing.assert_array_equal(computed("avg_pool", **arguments)[0, 0], expected)
    excluded = computed("avg_pool", **arguments, exclude_padding_from_average=True)[0, 0]
    np.testing.assert_array_equal(excluded, F.avg_pool2d(torch.from_numpy(x), 2, 3, ceil_mode=True)[0, 0])
