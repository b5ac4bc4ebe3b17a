"""Detection: boxes, and how sure each is of each class.

Artifacts give ``boxes`` (B, N, 4), left, top, right and bottom in pixels of the input, and ``scores`` (B, N, classes)
from 0 to 1, both decoded in the graph; the best box of each thing is chosen outside (:mod:`.suppression`). Or they give
``detections`` (B, K, 6) or objects, which they have chosen by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mobilevit_tools.data.contract import BOXES
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.labels import check_label_count
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.tasks._base import SHOWN_SCORE, Answering, Asked, refuse_maps
from mobilevit_tools.tasks.decoding import BoxDecoding
from mobilevit_tools.tasks.pictures import picture_paths
from mobilevit_tools.tasks.shown import DetectPrediction, Found
from mobilevit_tools.tasks.suppression import (
    LEAST_SCORE,
    MOST_CANDIDATES,
    MOST_DETECTIONS,
    MOST_OVERLAP,
    suppress,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.models.factory import LoadedModel

MOST_CLASSES = 65536
MOST_NORMALIZED = 2.0
"""Boxes of which no corner is further from the first pixel are shares of the input's sides, and some leave it."""
_CHECKED = 1000
"""How many of the best scores a bundle's decoders are checked on where none is a detection."""
_HINT = "Return a dict of boxes (B, N, 4), corners in pixels of the input, and scores (B, N, classes), from 0 to 1."


class BoxesAndScores(nn.Module):
    """Gives boxes and scores among what a model returns.

    Args:
        module: The model.
        places: Where among what it returns the boxes and the scores are.
    """

    def __init__(self, module: nn.Module, places: tuple[int, int]) -> None:
        super().__init__()
        self.module = module
        self.places = places

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes (B, N, 4) and scores (B, N, classes) of images (B, 3, H, W)."""
        outputs = self.module(images)
        return outputs[self.places[0]], outputs[self.places[1]]


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model as it gives boxes and scores; see :class:`mobilevit_tools.tasks._base.Task`."""
    refuse_maps("detect", upsample=upsample)
    with torch.no_grad():
        outputs = loaded.module(torch.zeros(1, 3, *loaded.preprocessing.input_size))
    tensors = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    places = _places(loaded.output_names, tensors)
    returned = ", ".join("x".join(map(str, each.shape)) for each in tensors)
    if places is None:
        raise BadInputError(
            f"{loaded.name} returns {returned} for one image: a detector returns boxes, 1 x N x 4, and scores, "
            "1 x N x classes.",
            hint=_HINT,
            code="no_boxes",
        )
    scores = tensors[places[1]]
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        raise BadInputError(
            f"{loaded.name} returns scores from {float(scores.min()):.4g} to {float(scores.max()):.4g}; the "
            "scores of a detector must be from 0 to 1.",
            hint="End the model with a sigmoid, or with a softmax without the background class.",
            code="no_boxes",
        )
    if 0 < (furthest := float(tensors[places[0]].abs().max())) <= MOST_NORMALIZED:
        raise BadInputError(
            f"{loaded.name} returns boxes up to {furthest:.4g}; those of a detector are in pixels of the input, not "
            "shares of it.",
            hint=_HINT,
            code="no_boxes",
        )
    classes = scores.shape[2]
    if loaded.labels is not None:
        check_label_count(loaded.labels, classes)
    return replace(
        loaded,
        module=BoxesAndScores(loaded.module, places).eval().requires_grad_(requires_grad=False),
        task="detect",
        returns="boxes",
        num_classes=classes,
        outputs=2,
        output_names=BOXES,
    )


def _places(names: Sequence[str], tensors: Sequence[Tensor]) -> tuple[int, int] | None:
    """Return where boxes and scores are: under their names, or of two outputs the first and the second."""
    if set(BOXES) <= set(names):
        boxes, scores = (names.index(name) for name in BOXES)
    elif len(tensors) == 2 and not names:
        boxes, scores = 0, 1
    else:
        return None
    shapes = tensors[boxes].shape, tensors[scores].shape
    right = (
        len(shapes[0]) == len(shapes[1]) == 3
        and shapes[0][2] == 4
        and shapes[0][1] == shapes[1][1]
        and shapes[1][2] <= MOST_CLASSES
        and all(tensors[place].is_floating_point() for place in (boxes, scores))
    )
    return (boxes, scores) if right else None


def predict(artifact: Answering, images: Sequence[Path], asked: Asked) -> list[DetectPrediction]:
    """Draw every photo's boxes and tell them; see :class:`mobilevit_tools.tasks._base.Task`."""
    from mobilevit_tools.tasks.overlay import annotated
    from mobilevit_tools.writing import write_whole

    predictions = []
    for path, picture in zip(images, picture_paths(images, asked, "boxes"), strict=True):
        image = load_image(path)
        found = detections(artifact, image, path, least_score=asked.least_score)
        write_whole(picture, annotated(image, found))
        predictions.append(DetectPrediction(path, found, (image.height, image.width), picture))
    return predictions


def detections(artifact: Answering, image: Image.Image, path: Path, *, least_score: float) -> tuple[Found, ...]:
    """Return what an artifact finds in a photo, in the photo's pixels, the best score first.

    Raises:
        BadInputError: The artifact gives something else than its contract says.
        GateError: An output is not finite.
    """
    recipe = artifact.contract.preprocessing
    rows = chosen(artifact, recipe.pixels(image), path, least_score=least_score)
    return named(rows, recipe.in_image(rows[:, :4], image), artifact.contract.labels or ())


def named(rows: NDArray[np.float64], boxes: NDArray[np.float64], labels: Sequence[str]) -> tuple[Found, ...]:
    """Return detections (K, 6) with their boxes (K, 4) elsewhere, and with their classes' names."""
    return tuple(
        Found(
            labels[int(kind)] if kind < len(labels) else str(int(kind)), int(kind), float(score), tuple(map(float, box))
        )
        for box, score, kind in zip(boxes, rows[:, 4], rows[:, 5], strict=True)
    )


def picture(outputs: Sequence[NDArray[np.floating]], pixels: NDArray[np.uint8], contract: Contract) -> bytes:
    """Return a PNG of what boxes (N, 4) and scores (N, classes) detect in pixels (3, H, W)."""
    from PIL import Image

    from mobilevit_tools.tasks.overlay import annotated

    rows = best_of(outputs[0], outputs[1], least_score=SHOWN_SCORE)
    return annotated(Image.fromarray(pixels.transpose(1, 2, 0)), named(rows, rows[:, :4], contract.labels or ()))


def decoding(
    outputs: Sequence[NDArray[np.floating]],
    contract: Contract,  # noqa: ARG001
) -> tuple[BoxDecoding, NDArray[np.float32]]:
    """Return how boxes (N, 4) and scores (N, classes) are decoded; see :mod:`mobilevit_tools.tasks.decoding`."""
    boxes, scores = outputs
    checked_above = LEAST_SCORE
    if not (scores > LEAST_SCORE).any():  # such as those of a model without training
        checked_above = float(np.sort(scores, axis=None)[-min(scores.size, _CHECKED)])
    described = BoxDecoding(
        boxes=scores.shape[0],
        classes=scores.shape[1],
        least_score=LEAST_SCORE,
        most_overlap=MOST_OVERLAP,
        candidates=MOST_CANDIDATES,
        most=MOST_DETECTIONS,
        checked_above=checked_above,
    )
    return described, best_of(boxes, scores, least_score=checked_above).astype(np.float32)


def chosen(artifact: Answering, pixels: NDArray[np.uint8], path: Path, *, least_score: float) -> NDArray[np.float64]:
    """Return what is detected in a photo's pixels (3, H, W), the best first.

    Returns:
        Rows (K, 6) of left, top, right and bottom in pixels of the input, the score, and the class.

    Raises:
        BadInputError: The artifact gives something else than its contract says.
        GateError: An output is not finite.
    """
    outputs = artifact.ask(pixels)
    if not _fits(outputs, artifact):
        shown = ", ".join("x".join(map(str, each.shape)) for each in outputs)
        said = "boxes and scores" if artifact.contract.output == "boxes" else artifact.contract.output
        raise BadInputError(f"{artifact.path} gives {shown}, but its contract says {said}.", code="no_boxes")
    for each in outputs:
        artifact.check_finite(each[0], path)
    if artifact.contract.output == "objects":
        rows = rows_of(outputs[0][0], outputs[1][0], artifact.contract.preprocessing.input_size)
        return rows[rows[:, 4] > least_score]
    if artifact.contract.output == "detections":
        rows = np.asarray(outputs[0][0], np.float64)
        return rows[rows[:, 4] > max(least_score, 0.0)]
    return best_of(outputs[0][0], outputs[1][0], least_score=least_score)


def best_of(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], *, least_score: float = LEAST_SCORE
) -> NDArray[np.float64]:
    """Return what boxes (N, 4) and scores (N, classes) detect, as :func:`chosen` does."""
    kept = suppress(boxes, scores, least_score=least_score)
    return np.concatenate([boxes[kept.boxes].astype(np.float64), np.stack([kept.scores, kept.classes], 1)], 1)


def rows_of(
    confidences: NDArray[np.floating], coordinates: NDArray[np.floating], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return objects (K, classes) and (K, 4) of an input's height and width as detections (K, 6), the best first."""
    if not len(confidences):
        return np.zeros((0, 6))
    kinds, scores = confidences.argmax(1), confidences.max(1).astype(np.float64)
    placed = coordinates.astype(np.float64) * np.array([size[1], size[0]] * 2)
    first, last = placed[:, :2] - placed[:, 2:] / 2, placed[:, :2] + placed[:, 2:] / 2
    rows = np.concatenate([first, last, scores[:, None], kinds[:, None]], 1)
    return np.asarray(rows[np.argsort(-scores, kind="stable")][:MOST_DETECTIONS])


def _fits(outputs: Sequence[NDArray[np.floating]], artifact: Answering) -> bool:
    shapes = [each.shape for each in outputs]
    if [len(shape) for shape in shapes] != [3] * len(shapes) or any(shape[0] != artifact.batch for shape in shapes):
        return False
    classes = artifact.contract.classes or len(artifact.contract.labels or ())
    if artifact.contract.output == "objects":
        return len(shapes) == 2 and shapes[1][1:] == (shapes[0][1], 4) and classes in (0, shapes[0][2])
    if artifact.contract.output == "detections":
        kinds = outputs[0][..., 5] if len(shapes) == 1 and shapes[0][2] == 6 else None
        return kinds is not None and bool(((kinds >= 0) & (kinds < (classes or MOST_CLASSES))).all())
    return len(shapes) == 2 and shapes[0][1:] == (shapes[1][1], 4) and classes in (0, shapes[1][2])
