from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from tests.runtimes.coreml.building import PROPERTY, computed, inferred, mb, noise, saved_cases

BUILDS: dict[str, Any] = {
    "slice": lambda x: mb.slice_by_index(
        x=x,
        begin=[0, -3, 1, 4],
        end=[0, -1, 0, 0],
        stride=[1, 1, 2, -2],
        begin_mask=[True, False, False, False],
        end_mask=[True, False, True, True],
    ),
    "squeezed": lambda x: mb.slice_by_index(
        x=x, begin=[1, 0, -1, 2], end=[0, 5, 0, 4], squeeze_mask=[True, False, True, False]
    ),
    "sized": lambda x: mb.slice_by_size(x=x, begin=[0, 2, 1, 0], size=[-1, 2, 3, -1]),
    "updated": lambda x: mb.slice_update(
        x=x,
        update=-np.ones((1, 2, 4, 2), np.float32),
        begin=[1, 1, 0, 0],
        end=[2, 5, 4, 5],
        stride=[1, 2, 1, 3],
    ),
    "crop": lambda x: mb.crop(x=x, crop_height=[1, 0], crop_width=[0, 2]),
    "pad": lambda x: mb.pad(x=x, pad=[1, 0, 2, 3], mode="constant", constant_val=1.5),
    "reflect": lambda x: mb.pad(x=x, pad=[2, 1, 0, 3], mode="reflect"),
    "replicate": lambda x: mb.pad(x=x, pad=[1, 2, 2, 0], mode="replicate"),
    "windows": lambda x: mb.sliding_windows(x=x, axis=1, size=3, stride=2),
    "band": lambda x: mb.band_part(x=x, lower=1, upper=2),
    "upper": lambda x: mb.band_part(x=x, lower=0, upper=-1),
}
X = noise(2, 5, 4, 5)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from coremltools import target

    program = saved_cases(BUILDS, X.shape, tmp_path_factory.mktemp("slicing") / "a.mlpackage", target.iOS18)
    return program.run({"x": X})


def test_saved_slices_and_borders_match_numpy(outputs: dict[str, Any]) -> None:
    updated = X.copy()
    updated[1:2, 1:5:2, 0:4, 0:5:3] = -1
    keep = np.array([[-2 <= row - column <= 1 for column in range(5)] for row in range(4)])
    expected = {
        "slice": X[:, -3:-1, 1::2, 4::-2],
        "squeezed": X[1, 0:5, -1, 2:4],
        "sized": X[:, 2:4, 1:4],
        "updated": updated,
        "crop": X[:, :, 1:, :-2],
        "pad": np.pad(X, [(0, 0), (0, 0), (1, 0), (2, 3)], constant_values=1.5),
        "reflect": np.pad(X, [(0, 0), (0, 0), (2, 1), (0, 3)], "reflect"),
        "replicate": np.pad(X, [(0, 0), (0, 0), (1, 2), (2, 0)], "edge"),
        "windows": np.stack([X[:, 0:3], X[:, 2:5]], 1),
        "band": X * keep,
        "upper": np.triu(X),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value, err_msg=name)


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 4))
def test_slices_with_masks_and_strides_are_pythons(data: st.DataObject, rank: int) -> None:
    draw = data.draw
    sizes = [draw(st.integers(1, 5)) for _ in range(rank)]
    begin, end, stride, begin_mask, end_mask, squeeze_mask, index = [], [], [], [], [], [], []
    for size in sizes:
        squeezed, from_start, to_end = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
        first, last = draw(st.integers(-size, size - 1)), draw(st.integers(-size - 2, size + 2))
        step = draw(st.sampled_from([1, 2, -1, -2]))
        chosen = slice(None if from_start else first, None if to_end else last, step)
        index.append((0 if from_start else first) if squeezed else chosen)
        for values, value in zip(
            (begin, end, stride, begin_mask, end_mask, squeeze_mask),
            (first, last, step, from_start, to_end, squeezed),
            strict=True,
        ):
            values.append(value)
    x = noise(*sizes)
    ours = computed(
        "slice_by_index",
        x=x,
        begin=tuple(begin),
        end=tuple(end),
        stride=tuple(stride),
        begin_mask=tuple(begin_mask),
        end_mask=tuple(end_mask),
        squeeze_mask=tuple(squeeze_mask),
    )
    np.testing.assert_array_equal(ours, x[tuple(index)])


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 4), mode=st.sampled_from(["constant", "reflect", "replicate"]))
def test_pads_of_any_rank_agree_with_coremltools(data: st.DataObject, rank: int, mode: str) -> None:
    sizes = [data.draw(st.integers(2, 4)) for _ in range(rank)]
    padded = data.draw(st.integers(1, rank))
    pad = [data.draw(st.integers(0, sizes[rank - padded + i // 2] - 1)) for i in range(2 * padded)]
    x = noise(*sizes)
    ours = computed("pad", x=x, pad=tuple(pad), mode=mode, constant_val=2.5)
    np.testing.assert_array_equal(ours, inferred("pad", x=x, pad=pad, mode=mode, constant_val=np.float32(2.5)))


@PROPERTY
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), lower=st.integers(-1, 3), upper=st.integers(-1, 3))
def test_bands_agree_with_coremltools(rows: int, columns: int, lower: int, upper: int) -> None:
    x = noise(2, rows, columns)
    ours = computed("band_part", x=x, lower=lower, upper=upper)
    np.testing.assert_array_equal(ours, inferred("band_part", x=x, lower=lower, upper=upper))


def test_a_border_beyond_all_memory_is_refused() -> None:
    with pytest.raises(BadInputError, match="too large"):
        computed("pad", x=noise(2, 2), pad=(0, 1 << 40))
    with pytest.raises(BadInputError, match="unknown mode 'wrap'"):
        computed("pad", x=noise(2, 2), pad=(0, 1), mode="wrap")
