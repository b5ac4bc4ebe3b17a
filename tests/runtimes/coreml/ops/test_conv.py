from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml import load_program
from tests.runtimes.coreml.building import PROPERTY, computed, mb, noise, save, saved_cases

W4 = noise(6, 2, 4, 3, seed=1)
WT = noise(4, 3, 3, 2, seed=2)
BIAS = noise(6, seed=3)


def windows_conv(
    x: np.ndarray, weight: np.ndarray, pads: Any, strides: Any, dilations: Any, groups: int = 1
) -> np.ndarray:
    """Convolution summed window by window in float64, from its definition."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    n, c_out, per_group = len(x), len(weight), weight.shape[1]
    extent = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    sizes = [(size - e) // s + 1 for size, e, s in zip(x.shape[2:], extent, strides, strict=True)]
    out = np.zeros((n, c_out, *sizes))
    for position in itertools.product(*map(range, sizes)):
        where = tuple(
            slice(p * s, p * s + e, d) for p, s, e, d in zip(position, strides, extent, dilations, strict=True)
        )
        window = x[(slice(None), slice(None), *where)]
        for channel in range(c_out):
            first = channel // (c_out // groups) * per_group
            part = window[:, first : first + per_group] * weight[channel]
            out[(slice(None), channel, *position)] = part.reshape(n, -1).sum(1)
    return out


def same_pads(sizes: Any, extent: Any, strides: Any, lower: bool) -> list[tuple[int, int]]:
    pads = []
    for size, e, s in zip(sizes, extent, strides, strict=True):
        out = int(np.ceil(size / s))
        total = max(0, (out - 1) * s + e - size)
        pads.append((total - total // 2, total // 2) if lower else (total // 2, total - total // 2))
    return pads


BUILDS = {
    "valid": lambda x: mb.conv(x=x, weight=W4, groups=2, bias=BIAS),
    "same": lambda x: mb.conv(x=x, weight=W4, groups=2, pad_type="same", strides=[2, 3]),
    "same_lower": lambda x: mb.conv(x=x, weight=W4, groups=2, pad_type="same_lower", strides=[2, 1]),
    "custom": lambda x: mb.conv(x=x, weight=W4, groups=2, pad_type="custom", pad=[2, 1, 0, 3], dilations=[2, 1]),
    "transpose_valid": lambda x: mb.conv_transpose(x=x, weight=WT, strides=[2, 1]),
    "transpose_same": lambda x: mb.conv_transpose(x=x, weight=WT, strides=[2, 2], pad_type="same"),
    "transpose_custom": lambda x: mb.conv_transpose(
        x=x, weight=WT, strides=[2, 3], pad_type="custom", pad=[1, 0, 1, 1], dilations=[1, 2], bias=BIAS[:3]
    ),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = saved_cases(BUILDS, (2, 4, 7, 8), tmp_path_factory.mktemp("conv") / "a.mlpackage")
    return program.run({"x": noise(2, 4, 7, 8)})


def test_saved_convolutions_match_the_definition(outputs: dict[str, Any]) -> None:
    x, ones = noise(2, 4, 7, 8), (1, 1)
    expected = {
        "valid": windows_conv(x, W4, [(0, 0)] * 2, ones, ones, 2) + BIAS[:, None, None],
        "same": windows_conv(x, W4, same_pads((7, 8), (4, 3), (2, 3), lower=False), (2, 3), ones, 2),
        "same_lower": windows_conv(x, W4, same_pads((7, 8), (4, 3), (2, 1), lower=True), (2, 1), ones, 2),
        "custom": windows_conv(x, W4, [(2, 1), (0, 3)], ones, (2, 1), 2),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5, err_msg=name)


def test_saved_transposed_convolutions_match_torch_cropped(outputs: dict[str, Any]) -> None:
    x, weight = torch.from_numpy(noise(2, 4, 7, 8)), torch.from_numpy(WT)
    valid = F.conv_transpose2d(x, weight, stride=(2, 1))
    same = F.conv_transpose2d(x, weight, stride=2)[:, :, :14, :16]  # surplus of 1 row and no column, cropped after
    custom = F.conv_transpose2d(x, weight, stride=(2, 3), dilation=(1, 2))[:, :, 1:, 1:-1]
    np.testing.assert_allclose(outputs["transpose_valid"], valid, atol=1e-5)
    np.testing.assert_allclose(outputs["transpose_same"], same, atol=1e-5)
    np.testing.assert_allclose(outputs["transpose_custom"], custom + torch.from_numpy(BIAS[:3, None, None]), atol=1e-5)


@PROPERTY
@given(data=st.data(), dims=st.integers(1, 3), pad_type=st.sampled_from(["valid", "same", "same_lower", "custom"]))
def test_every_padding_mode_in_every_dimension(data: st.DataObject, dims: int, pad_type: str) -> None:
    draw = data.draw
    kernel = [draw(st.integers(1, 3)) for _ in range(dims)]
    strides = tuple(draw(st.integers(1, 3)) for _ in range(dims))
    dilations = tuple(draw(st.integers(1, 2)) for _ in range(dims))
    sizes = [draw(st.integers(5, 7)) for _ in range(dims)]
    groups = draw(st.sampled_from([1, 2]))
    pad = tuple(draw(st.integers(0, 2)) for _ in range(2 * dims))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = {
        "valid": [(0, 0)] * dims,
        "custom": list(zip(pad[::2], pad[1::2], strict=True)),
        "same": same_pads(sizes, extent, strides, lower=False),
        "same_lower": same_pads(sizes, extent, strides, lower=True),
    }[pad_type]
    x, weight = noise(1, 4, *sizes), noise(2, 4 // groups, *kernel, seed=1)
    ours = computed(
        "conv", x=x, weight=weight, strides=strides, dilations=dilations, groups=groups, pad_type=pad_type, pad=pad
    )
    np.testing.assert_allclose(ours, windows_conv(x, weight, pads, strides, dilations, groups), atol=1e-5)


@PROPERTY
@given(data=st.data(), dims=st.integers(1, 3), groups=st.sampled_from([1, 2]), pad=st.integers(0, 1))
def test_transposed_convolution_with_symmetric_padding_is_torchs(
    data: st.DataObject, dims: int, groups: int, pad: int
) -> None:
    stride, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    sizes, kernel = [data.draw(st.integers(2, 4)) for _ in range(dims)], [data.draw(st.integers(2, 3))] * dims
    extra = data.draw(st.integers(0, stride - 1))
    x, weight = noise(2, 4, *sizes), noise(4, 2, *kernel, seed=1)
    theirs = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][dims - 1](
        torch.from_numpy(x),
        torch.from_numpy(weight),
        None,
        stride,
        pad,
        extra if dilation == 1 else 0,
        groups,
        dilation,
    )
    ours = computed(
        "conv_transpose",
        x=x,
        weight=weight,
        strides=(stride,) * dims,
        dilations=(dilation,) * dims,
        groups=groups,
        pad_type="custom",
        pad=(pad, pad) * dims,
        output_shape=tuple(theirs.shape),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(BadInputError, match="pad_type 'mirror'"):
        computed("conv", x=noise(1, 1, 3), weight=noise(1, 1, 2), pad_type="mirror")


def test_weights_are_laid_out_once_so_that_values_between_convolutions_are_too(tmp_path: Path) -> None:
    weight = noise(4, 3, 3, 3)

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 8))])
    def program(x: Any) -> Any:
        return mb.relu(x=mb.conv(x=x, weight=weight, name="inner"), name="outer")

    loaded, seen = load_program(save(program, tmp_path / "conv.mlpackage")), {}
    x = noise(1, 3, 8, 8)
    for _ in range(2):
        result = loaded.run({"x": x}, observe=lambda _operation, _kind, name, value: seen.setdefault(name, value))
        np.testing.assert_allclose(
            result["outer"], F.conv2d(torch.from_numpy(x), torch.from_numpy(weight)).relu(), atol=1e-5
        )
    assert [value.is_contiguous(memory_format=torch.channels_last) for value in seen.values()] == [True, True]


def test_a_transposed_convolution_knows_its_kinds_of_padding() -> None:
    with pytest.raises(BadInputError, match="pad_type 'same_lower'"):
        computed("conv_transpose", x=noise(1, 2, 3), weight=noise(2, 1, 2), pad_type="same_lower")
