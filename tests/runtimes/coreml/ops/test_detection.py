from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from tests.runtimes.coreml.building import PROPERTY, computed

GRID = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)


def _nms(boxes: np.ndarray, scores: np.ndarray, **options: Any) -> Any:
    given = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_boxes": len(boxes)} | options
    return computed("non_maximum_suppression", boxes=boxes[None], scores=scores[None], **given)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    low = np.maximum(one[:2] - one[2:] / 2, other[:2] - other[2:] / 2)
    high = np.minimum(one[:2] + one[2:] / 2, other[:2] + other[2:] / 2)
    shared = np.clip(high - low, 0, None).prod()
    return float(shared / (one[2:].prod() + other[2:].prod() - shared))


@PROPERTY
@given(seed=st.integers(0, 1000), per_class=st.booleans(), threshold=st.floats(0.1, 0.9))
def test_survivors_are_those_of_the_definition(seed: int, per_class: bool, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(1, 4, (12, 4)).astype(np.float32)
    scores = rng.uniform(0, 1, (12, 3)).astype(np.float32)
    kept: list[int] = []
    for index in np.argsort(-scores.max(1)):
        rivals = [other for other in kept if not per_class or scores[other].argmax() == scores[index].argmax()]
        if scores[index].max() > 0.5 and all(_iou(boxes[index], boxes[other]) <= threshold for other in rivals):
            kept.append(int(index))
    chosen, values, indices, count = _nms(
        boxes, scores, iou_threshold=threshold, score_threshold=0.5, per_class_suppression=per_class
    )
    assert indices[0, : len(kept)].tolist() == kept
    assert count[0] == len(kept)
    np.testing.assert_array_equal(chosen[0, : len(kept)], boxes[kept])
    np.testing.assert_array_equal(values[0, : len(kept)], scores[kept])
    assert (indices[0, len(kept) :] == -1).all()
    assert (chosen[0, len(kept) :] == 0).all()


def test_the_best_box_survives_every_threshold() -> None:
    boxes = np.array([[1, 1, 1, 1], [2, 2, 2, 2]], np.float32)
    _, _, indices, count = _nms(boxes, np.array([[0.1], [0.2]], np.float32), score_threshold=0.9)
    assert (indices[0].tolist(), count[0]) == ([1, -1], 1)


def test_since_ios_17_boxes_are_columns_without_a_score_threshold() -> None:
    boxes = np.array([[[1, 1, 2, 2], [1.1, 1, 2, 2], [9, 9, 2, 2]]], np.float32)
    scores = np.array([[[0.1], [-5], [0.3]]], np.float32)
    found = computed(
        "non_maximum_suppression",
        boxes=boxes.transpose(0, 2, 1).copy(),
        scores=scores.transpose(0, 2, 1).copy(),
        iou_threshold=0.5,
        max_boxes=3,
    )
    assert [value.shape for value in found] == [(1, 4, 3), (1, 1, 3), (1, 3)]
    assert found[2].tolist() == [[2, 0, -1]]
    np.testing.assert_array_equal(found[0][0, :, 0], [9, 9, 2, 2])


def _crop(boxes: list[list[float]], **options: Any) -> np.ndarray:
    arguments = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"} | options
    return np.asarray(computed("crop_resize", x=GRID, boxes=np.array(boxes, np.float32), **arguments))


@pytest.mark.parametrize(
    ("mode", "box"),
    [
        ("CORNERS_HEIGHT_FIRST", [1, 0, 2, 3]),
        ("CORNERS_WIDTH_FIRST", [0, 1, 3, 2]),
        ("CENTER_SIZE_HEIGHT_FIRST", [1.5, 1.5, 1, 3]),
        ("CENTER_SIZE_WIDTH_FIRST", [1.5, 1.5, 3, 1]),
    ],
)
def test_a_box_may_be_written_in_four_ways(mode: str, box: list[float]) -> None:
    expected = [[[[5, 8], [9, 12]]]]
    np.testing.assert_allclose(_crop([box], box_coordinate_mode=mode), expected, rtol=1e-6)
    scaled = [value / 3 for value in box]
    found = _crop([scaled], box_coordinate_mode=mode, normalized_coordinates=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = _crop([[2 * value for value in box]], box_coordinate_mode=mode, spatial_scale=0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_points_of_a_box_are_placed_by_mode() -> None:
    box = [[1, 1, 2, 2]]
    between = [[6, 6 + 1 / 3, 6 + 2 / 3, 7], [7 + 1 / 3, 7 + 2 / 3, 8, 8 + 1 / 3]]
    np.testing.assert_allclose(_crop(box, target_height=4, target_width=4)[0, 0, :2], between, rtol=1e-6)
    assert _crop(box, target_height=1, target_width=1) == 8.5
    assert _crop(box, target_height=1, target_width=1, sampling_mode="STRICT_ALIGN_CORNERS") == 6
    np.testing.assert_allclose(_crop(box, sampling_mode="DEFAULT")[0, 0], [[6, 7], [10, 11]])
    quarter = [[6 + 1.25, 6 + 1.75], [6 + 3.25, 6 + 3.75]]
    np.testing.assert_allclose(_crop(box, sampling_mode="OFFSET_CORNERS")[0, 0], quarter)


def test_a_box_that_is_turned_over_is_read_backwards() -> None:
    np.testing.assert_allclose(_crop([[2, 2, 1, 1]])[0, 0], [[11, 10], [7, 6]])
    whole = _crop([[2, 2, 1, 1]], normalized_coordinates=True, sampling_mode="UNALIGN_CORNERS")
    np.testing.assert_allclose(whole[0, 0], [[3.5, 5.5], [11.5, 13.5]])  # as coremltools' tests of Core ML expect


def test_what_lies_outside_of_the_image_is_padded() -> None:
    np.testing.assert_allclose(_crop([[3, 0, 4, 3]], pad_value=-1.0)[0, 0], [[13, 16], [-1, -1]])


def test_older_programs_name_regions() -> None:
    images = np.concatenate((GRID, 2 * GRID))
    options = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"}
    box = np.array([1, 0, 2, 3], np.float32)
    every = computed("crop_resize", x=images, roi=box.reshape(1, 1, 4, 1, 1), **options)
    assert every.shape == (1, 2, 1, 2, 2)
    np.testing.assert_allclose(every[0, 1], 2 * every[0, 0])
    one = computed("crop_resize", x=images, roi=np.array([1, *box], np.float32).reshape(1, 1, 5, 1, 1), **options)
    np.testing.assert_array_equal(one, every[:, 1:])
    new = computed("crop_resize", x=images, boxes=box[None], box_indices=np.array([1], np.int32), **options)
    np.testing.assert_array_equal(new, every[0, 1:])
    with pytest.raises(BadInputError, match="has no boxes"):
        computed("crop_resize", x=images)
    with pytest.raises(BadInputError, match="unknown box_coordinate_mode"):
        computed("crop_resize", x=images, boxes=box[None], box_coordinate_mode="POLAR")
