"""The interval of a mean average precision is that of drawing images anew, each counted as often as it was drawn."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from mobilevit_tools.verification.mean_precision import Detected, mean_precision
from mobilevit_tools.verification.precision_interval import average_precision, bootstrap_interval, matches_of

pytest.importorskip("pycocotools")
IMAGES = 6
CATEGORIES = (3, 7, 18)


def scene() -> tuple[dict[str, Any], list[Detected]]:
    """Return a dataset and detections: nearly right, doubled and wrong ones, an image of nothing, and a crowd."""
    rng = np.random.default_rng(1)
    annotations: list[dict[str, Any]] = []
    found = []
    for image in range(1, IMAGES):  # nothing is on the last one
        for _ in range(rng.integers(3, 7)):
            category = int(rng.choice(CATEGORIES[: 2 if image < 4 else 3]))
            box = np.array([*rng.uniform(0, 200, 2), *rng.uniform(20, 120, 2)])
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": box.tolist(),
                "area": float(box[2] * box[3]), "iscrowd": int(not annotations),
            })  # fmt: skip
            for _ in range(rng.integers(0, 3)):
                near = box + rng.normal(0, 8, 4)
                found.append(Detected(image, category, (*near[:2], *(near[:2] + near[2:])), rng.uniform(0.1, 1)))
    for image in range(1, IMAGES + 1):
        found += [Detected(image, each, (250.0, 250.0, 290.0, 280.0), rng.uniform(0.1, 1)) for each in CATEGORIES]
    return dataset(annotations, range(1, IMAGES + 1)), found


def dataset(annotations: list[dict[str, Any]], images: Any) -> dict[str, Any]:
    sides = {"width": 320, "height": 320}
    categories = [{"id": each, "name": str(each)} for each in CATEGORIES]
    return {"images": [{"id": each, **sides} for each in images], "annotations": annotations, "categories": categories}


def repeated(drawn: list[int]) -> tuple[dict[str, Any], list[Detected], int]:
    """Return the scene with each image as often as it was drawn, each copy as an image of its own."""
    whole, found = scene()
    annotations, copies, number = [], [], 0
    for image, times in enumerate(drawn, 1):
        for _ in range(times):
            number += 1
            own = [each for each in whole["annotations"] if each["image_id"] == image]
            annotations += [
                {**each, "image_id": number, "id": len(annotations) + 1 + place} for place, each in enumerate(own)
            ]
            copies += [Detected(number, each.category, each.box, each.score) for each in found if each.image == image]
    return dataset(annotations, range(1, number + 1)), copies, number


@pytest.mark.parametrize("drawn", [[1] * IMAGES, [2, 0, 1, 0, 3, 0], [0, 0, 2, 1, 0, 3], [1, 3, 0, 0, 0, 2]])
def test_an_image_counts_as_often_as_it_was_drawn(drawn: list[int]) -> None:
    copied, copies, number = repeated(drawn)
    expected = mean_precision(copied, range(1, number + 1), copies).whole
    weights = np.array([drawn], np.float64)
    each = [average_precision(found, weights, recalls) for found, recalls in judged()]
    assert 0.05 < expected < 0.9
    assert np.nanmean(each) == pytest.approx(expected, abs=1e-9)


def judged() -> list[tuple[Any, Any]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    whole, found = scene()
    made = []
    results = [
        {"image_id": each.image, "category_id": each.category, "score": each.score, "bbox": [
            *each.box[:2], each.box[2] - each.box[0], each.box[3] - each.box[1]]}
        for each in found
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = whole
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
    for place in range(len(CATEGORIES)):
        start = place * len(judge.params.areaRng) * IMAGES
        made.append((matches_of(judge.evalImgs[start : start + IMAGES], 100), judge.params.recThrs))
    return made


def test_the_interval_holds_the_figure_and_vanishes_where_all_images_are_equal() -> None:
    whole, found = scene()
    measured = mean_precision(whole, range(1, IMAGES + 1), found)
    assert measured.interval is not None
    low, high = measured.interval
    assert low + 0.05 < measured.whole < high - 0.05
    assert mean_precision(whole, range(1, IMAGES + 1), found).interval == (low, high)
    equal, copies, number = repeated([0, 4, 0, 0, 0, 0])
    measured = mean_precision(equal, range(1, number + 1), copies)
    assert measured.interval == pytest.approx((measured.whole, measured.whole), abs=1e-9)
    assert mean_precision(whole, [2], found).interval is None
    assert bootstrap_interval([], 5, np.linspace(0, 1, 101)) is None
