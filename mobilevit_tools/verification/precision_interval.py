"""How sure a mean average precision is: its interval over images drawn anew.

Boxes of one image are alike, so an interval over boxes would be too narrow. What pycocotools matched is counted again
with a weight for each image: how often it was drawn. An image that was drawn twice counts as two equal images do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.verification.resampling import LEAST_IMAGES, draws, interval_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 2_000_000
"""Weights of boxes that are in memory at once."""


@dataclass(frozen=True)
class Matches:
    """What was matched of one category, in all images, the best score first.

    Attributes:
        image: The place of each box's image (boxes,).
        right: Whether the box is a thing's, by overlap (overlaps, boxes).
        counted: Whether the box counts, and does not lie on what is ignored, such as a crowd (overlaps, boxes).
        things: How many things there are to be found in each image (images,).
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    things: NDArray[np.int64]


def matches_of(images: Sequence[Mapping[str, Any] | None], most: int) -> Matches | None:
    """Read what pycocotools matched of one category in each image; None where there is nothing to read.

    Args:
        images: ``COCOeval.evalImgs`` of the category, an entry for each image.
        most: How many boxes of an image count.
    """
    known = [(place, each) for place, each in enumerate(images) if each is not None]
    if not known:
        return None
    things = np.zeros(len(images), np.int64)
    for place, each in known:
        things[place] = int((np.asarray(each["gtIgnore"]) == 0).sum())
    scores = np.concatenate([each["dtScores"][:most] for _, each in known])
    order = np.argsort(-scores, kind="mergesort")
    image = np.concatenate([np.full(len(each["dtScores"][:most]), place) for place, each in known])
    matched, ignored = (
        np.concatenate([each[name][:, :most] for _, each in known], axis=1)[:, order] != 0
        for name in ("dtMatches", "dtIgnore")
    )
    return Matches(image[order].astype(np.int64), matched & ~ignored, ~ignored, things)


def average_precision(found: Matches, drawn: NDArray[np.float64], recalls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a category's average precision over all overlaps (draws,); NaN where a draw has none of its things.

    Args:
        found: The category.
        drawn: How often each draw has each image (draws, images).
        recalls: Where precision is read, ascending.
    """
    total = drawn @ found.things
    weights = drawn[:, found.image]
    each = np.zeros((len(found.right), len(drawn)))
    for place, (right, counted) in enumerate(zip(found.right, found.counted, strict=True)):
        if not right.any():
            continue
        hits = np.cumsum(weights[:, right], axis=1)
        looked = np.cumsum(weights * counted, axis=1)[:, right]
        precision = hits / np.where(looked > 0, looked, 1.0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(recalls, hits / np.where(total > 0, total, 1.0)[:, None], side="right")
        each[place] = (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(recalls)
    return np.where(total > 0, each.mean(axis=0), np.nan)


def bootstrap_interval(
    categories: Sequence[Matches], images: int, recalls: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean average precision, always the same way; None of a single image.

    Args:
        categories: What was matched of each.
        images: How many images there are.
        recalls: Where precision is read, ascending.
    """
    if images < LEAST_IMAGES or not categories:
        return None
    drawn = draws(images)
    total, count = np.zeros(len(drawn)), np.zeros(len(drawn))
    for found in categories:
        step = max(1, _BLOCK // max(1, len(found.image)))
        blocks = [drawn[start : start + step] for start in range(0, len(drawn), step)]
        each = np.concatenate([average_precision(found, block, recalls) for block in blocks])
        total += np.nan_to_num(each)
        count += ~np.isnan(each)
    if not count.any():
        return None
    return interval_of(total[count > 0] / count[count > 0])
