"""COCO's figures of detectors, through its own code (pycocotools)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.errors import MissingDependencyError
from mobilevit_tools.verification.precision_interval import bootstrap_interval, matches_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Detected:
    """One box that was found.

    Attributes:
        image: Its image's number.
        category: Its category's number.
        box: Left, top, right and bottom in pixels of the image.
        score: How sure its finder was.
    """

    image: int
    category: int
    box: tuple[float, ...]
    score: float


@dataclass(frozen=True)
class Precision:
    """Mean average precision over categories, and over overlaps from 0.5 to 0.95 where none is named; from 0 to 1.

    Attributes:
        whole: Of all boxes.
        at_50: At an overlap of 0.5.
        at_75: At an overlap of 0.75.
        small: Of boxes of less than 32 x 32 pixels; None where there are none, as for the next three.
        medium: Of those up to 96 x 96.
        large: Of larger ones.
        recall: Mean recall with 100 boxes an image.
        categories: That of each category, by its number.
        interval: 95 % interval of ``whole``, by drawing the images anew; None of a single image.
    """

    whole: float
    at_50: float
    at_75: float
    small: float | None
    medium: float | None
    large: float | None
    recall: float
    categories: Mapping[int, float | None]
    interval: tuple[float, float] | None = None


def check_installed() -> None:
    """Refuse to measure without pycocotools.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if find_spec("pycocotools") is None:
        raise MissingDependencyError(
            "Evaluating a detector requires pycocotools, which is not installed.",
            hint="pip install 'mobilevit-tools[detect]'",
        )


def mean_precision(dataset: Mapping[str, Any], images: Sequence[int], found: Sequence[Detected]) -> Precision:
    """Measure what was found in some images of a dataset.

    Args:
        dataset: What :class:`mobilevit_tools.data.coco.CocoPhotos` has of it.
        images: The numbers of the images that were looked at.
        found: What was found in them.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    check_installed()
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        judge = COCOeval(_indexed(dataset), _indexed({**dataset, "annotations": _results(found)}), "bbox")
        judge.params.imgIds = sorted(images)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    each: NDArray[np.float64] = judge.eval["precision"][:, :, :, 0, -1]  # overlaps, recalls, categories
    # pycocotools says -1 where there is nothing to be found.
    whole, at_50, at_75, small, medium, large, _, _, recall = (
        None if value < 0 else float(value) for value in judge.stats[:9]
    )
    return Precision(
        whole=whole or 0.0,
        at_50=at_50 or 0.0,
        at_75=at_75 or 0.0,
        small=small,
        medium=medium,
        large=large,
        recall=recall or 0.0,
        categories={
            int(number): float(each[:, :, place].mean()) if (each[:, :, place] >= 0).any() else None
            for place, number in enumerate(judge.params.catIds)
        },
        interval=_interval(judge),
    )


def _interval(judge: Any) -> tuple[float, float] | None:
    """Return the interval of what a ``COCOeval`` has judged; its first range of areas is all of them."""
    asked = judge.params
    images, ranges, most = len(asked.imgIds), len(asked.areaRng), asked.maxDets[-1]
    starts = range(0, len(asked.catIds) * ranges * images, ranges * images)
    matched = (matches_of(judge.evalImgs[start : start + images], most) for start in starts)
    return bootstrap_interval([each for each in matched if each is not None], images, asked.recThrs)


def _indexed(dataset: Mapping[str, Any]) -> Any:
    from pycocotools.coco import COCO

    made = COCO()
    made.dataset = dict(dataset)
    made.createIndex()
    return made


def _results(found: Sequence[Detected]) -> list[dict[str, Any]]:
    results = []
    for number, each in enumerate(found, 1):
        left, top, right, bottom = each.box
        width, height = right - left, bottom - top
        results.append(
            {
                "id": number,
                "image_id": each.image,
                "category_id": each.category,
                "bbox": [left, top, width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": each.score,
            }
        )
    return results
