"""How an app reads a segmenter's or a detector's outputs, as data: every decoder of a bundle is written from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import Contract


@dataclass(frozen=True)
class BoxDecoding:
    """Boxes (N, 4) and scores (N, classes) to what is detected: greedy suppression, class by class.

    Of equal scores, the one of the lower place comes first, then that of the lower class.

    Attributes:
        boxes: How many boxes an image has.
        classes: How many classes there are.
        least_score: Scores that are not above it are no detections.
        most_overlap: Boxes of a class that overlap a better one by more of their union are dropped.
        candidates: How many pairs of a box and a class are looked at, those of the best scores.
        most: How many detections an image may have.
        checked_above: The least score with which the stored detections were decoded: ``least_score``, unless the model
            finds nothing in the stored input then.
        kind: Tells this from other decodings.
    """

    boxes: int
    classes: int
    least_score: float
    most_overlap: float
    candidates: int
    most: int
    checked_above: float
    kind: Literal["boxes"] = "boxes"


@dataclass(frozen=True)
class MapDecoding:
    """Scores (classes, h, w) to the class of each pixel: resized (bilinear, corners not aligned), then the largest.

    Attributes:
        classes: How many classes there are.
        map_size: Height and width of the scores.
        size: Height and width of the class map, those of the input.
        colours: Red, green and blue of each class.
        kind: Tells this from other decodings.
    """

    classes: int
    map_size: tuple[int, int]
    size: tuple[int, int]
    colours: tuple[tuple[int, int, int], ...]
    kind: Literal["classes"] = "classes"


class Decodes(Protocol):
    """What the module of a task has whose outputs an app must decode."""

    def decoding(
        self, outputs: Sequence[NDArray[np.floating]], contract: Contract
    ) -> tuple[BoxDecoding | MapDecoding, NDArray[np.float32] | NDArray[np.int32]]:
        """Return how the outputs of one image are decoded, and what that gives.

        Args:
            outputs: What the model gives for one image, without a batch.
            contract: What the artifact says of itself.

        Returns:
            The decoding, and detections (K, 6) of left, top, right, bottom in pixels of the input, score and class, the
            best first; or the class of each pixel (H, W).
        """
