"""Images go in as the artifact takes them: pixels or a tensor, with its channels, as many as it takes at once."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.runtimes._base import TensorInfo

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 2, 2)
TENSOR = PIXELS.astype(np.float32) / 7 - 1


def info(*shape: int | None, kind: str = "tensor") -> TensorInfo:
    return TensorInfo("image", shape, "uint8" if kind == "image" else "float32", kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "rows"), [(None, [0, 1]), (2, [0, 1]), (4, [0, 1, 1, 1])])
@pytest.mark.parametrize("kind", ["tensor", "image"])
def test_the_last_image_fills_the_places_that_are_left(kind: str, size: int | None, rows: list[int]) -> None:
    fed = info(size, 3, 2, 2, kind=kind).feed(TENSOR, PIXELS)
    wanted = (PIXELS if kind == "image" else TENSOR)[rows]
    assert fed.dtype == wanted.dtype
    assert np.array_equal(fed, wanted)
    assert info(size, 3, 2, 2).batch == (size or 1)


def test_an_image_of_one_channel_is_fed_luma() -> None:
    pixels = np.array([[[[255]], [[0]], [[0]]], [[[0]], [[255]], [[255]]]], np.uint8)
    fed = info(1, 1, 1, 1, kind="image").feed(pixels.astype(np.float32), pixels)
    assert fed.ravel().tolist() == [76, 179]
    tensor = pixels.astype(np.float32)
    assert info(1, 1, 1, 1).feed(tensor, pixels) is tensor


def test_what_no_pixels_give_cannot_be_fed_to_an_image() -> None:
    assert info(1, 3, 2, 2, kind="image").feed(TENSOR[:1], None) is None
    assert info(1, 3, 2, 2).feed(TENSOR[:1], None) is not None
