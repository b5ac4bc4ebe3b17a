"""What artifacts of several images per run are given."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.runtimes._base import TensorInfo
from mobilevit_tools.verification.batches import FREE_BATCH, batches
from mobilevit_tools.verification.inputs import VerificationInput, build_inputs

INPUTS = build_inputs(Preprocessing((4, 4)), [])


def info(batch: int | None, kind: str = "tensor") -> TensorInfo:
    return TensorInfo("image", (batch, 3, 4, 4), "float32", kind)  # type: ignore[arg-type]


def test_a_batch_of_one_is_the_input_itself() -> None:
    found = list(batches(info(1), INPUTS))
    assert [batch.rows for batch in found] == [(index,) for index in range(len(INPUTS))]
    for batch, item in zip(found, INPUTS, strict=True):
        assert batch.array.tobytes() == item.tensor.tobytes()
        assert batch.array.dtype == np.float32


def test_images_are_pixels_and_what_no_image_gives_is_left_out() -> None:
    found = list(batches(info(2, "image"), INPUTS))
    assert [batch.rows[0] for batch in found] == [index for index, item in enumerate(INPUTS) if item.pixels is not None]
    assert len(found) < len(INPUTS)
    for batch in found:
        assert batch.array.dtype == np.uint8
        np.testing.assert_array_equal(batch.array, np.concatenate([INPUTS[row].pixels for row in batch.rows]))


@pytest.mark.parametrize("size", [2, 3, 5, 9, None])
def test_every_input_leads_a_batch_and_has_neighbours_that_differ(size: int | None) -> None:
    found = list(batches(info(size), INPUTS))
    assert [batch.rows[0] for batch in found] == list(range(len(INPUTS)))
    for batch in found:
        assert batch.array.shape == (size or FREE_BATCH, 3, 4, 4)
        assert all(first != second for first, second in zip(batch.rows, batch.rows[1:], strict=False))
        np.testing.assert_array_equal(batch.array, np.concatenate([INPUTS[row].tensor for row in batch.rows]))


def test_stress_inputs_are_among_themselves() -> None:
    # Where an artifact measures the ranges of a whole batch, a large input would cost a photo its bits.
    for batch in batches(info(4), INPUTS):
        assert len({INPUTS[row].kind == "stress" for row in batch.rows}) == 1


def test_a_single_input_fills_its_batch_alone() -> None:
    (batch,) = batches(info(3), INPUTS[:1])
    assert batch.rows == (0, 0, 0)


def test_nothing_is_made_of_nothing() -> None:
    unseen = VerificationInput("large", "stress", INPUTS[-1].tensor, None)
    assert list(batches(info(2, "image"), [unseen])) == []
