"""Segmentation: a score for each class at each place, or the class of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilevit_tools.data.labels import check_label_count
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.tasks._base import Answering, Asked
from mobilevit_tools.tasks.decoding import MapDecoding
from mobilevit_tools.tasks.pictures import picture_paths
from mobilevit_tools.tasks.shown import ClassShare, SegmentPrediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.models.factory import LoadedModel

_SCORES = ("logits", "out")
"""What transformers and torchvision call a map of scores beside auxiliary ones."""
MOST_CLASSES = 65536
"""More are no classes: their maps of scores would not fit into memory."""


class ScoreMap(nn.Module):
    """Gives the map of scores that a model returns, (B, classes, H, W), resized where a size is given.

    Args:
        module: The model; it returns the map, alone or among others.
        index: The map's place among what the model returns.
        size: Height and width to resize to (bilinear, corners not aligned); None leaves the map as it is.
    """

    def __init__(self, module: nn.Module, index: int, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.module = module
        self.index = index
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Return scores for images (B, 3, H, W)."""
        outputs = self.module(images)
        scores: Tensor = outputs if isinstance(outputs, Tensor) else outputs[self.index]
        if self.size is None or tuple(scores.shape[-2:]) == self.size:
            return scores
        return functional.interpolate(scores, size=self.size, mode="bilinear", align_corners=False)


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model as it gives its map of scores; see :class:`mobilevit_tools.tasks._base.Task`."""
    size = loaded.preprocessing.input_size
    with torch.no_grad():
        outputs = loaded.module(torch.zeros(1, 3, *size))
    tensors = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    index = _place(loaded.output_names, len(tensors))
    if index is None or tensors[index].ndim != 4 or not tensors[index].is_floating_point():
        returned = ", ".join("x".join(map(str, each.shape)) for each in tensors)
        raise BadInputError(
            f"{loaded.name} returns {returned} for one image: a segmenter returns one map of scores, "
            "1 x classes x height x width.",
            hint="Return only the map, or a dict with the key logits or out; or omit --task segment.",
            code="no_score_map",
        )
    classes = tensors[index].shape[1]
    if not 2 <= classes <= MOST_CLASSES:
        raise BadInputError(
            f"{loaded.name} returns {classes} scores per position; at least two classes are required.",
            hint="Use --task raw for a mask with one score." if classes == 1 else None,
            code="no_score_map",
        )
    if loaded.labels is not None:
        check_label_count(loaded.labels, classes)
    module = ScoreMap(loaded.module, index, size if upsample else None).eval().requires_grad_(requires_grad=False)
    return replace(
        loaded,
        module=module,
        task="segment",
        returns="score_map",
        num_classes=classes,
        outputs=1,
        output_names=(),
        upsampled=upsample,
    )


def _place(names: Sequence[str], count: int) -> int | None:
    """Return which of several outputs is the scores: the only one, or what libraries call so."""
    if count == 1:
        return 0
    return next((names.index(name) for name in _SCORES if name in names), None)


def predict(artifact: Answering, images: Sequence[Path], asked: Asked) -> list[SegmentPrediction]:
    """Write a picture of every photo's classes and tell their shares; see :class:`mobilevit_tools.tasks._base.Task`."""
    from mobilevit_tools.tasks.overlay import overlay
    from mobilevit_tools.writing import write_whole

    predictions = []
    for image, picture in zip(images, picture_paths(images, asked, "overlay"), strict=True):
        pixels = artifact.pixels(image)
        classes = class_map(artifact.ask(pixels), artifact)
        shares = _shares(classes, artifact.contract)
        write_whole(picture, overlay(pixels, classes, shares[: asked.top]))
        predictions.append(SegmentPrediction(image, shares, (classes.shape[0], classes.shape[1]), picture))
    return predictions


def picture(outputs: Sequence[NDArray[np.floating]], pixels: NDArray[np.uint8], contract: Contract) -> bytes:
    """Return a PNG of the classes that scores (classes, h, w) give to pixels (3, H, W), with a legend."""
    from mobilevit_tools.tasks.overlay import overlay

    classes = largest(outputs[0], contract.preprocessing.input_size)
    return overlay(pixels, classes, _shares(classes, contract)[: Asked().top])


def decoding(outputs: Sequence[NDArray[np.floating]], contract: Contract) -> tuple[MapDecoding, NDArray[np.int32]]:
    """Return how scores (classes, h, w) are decoded; see :mod:`mobilevit_tools.tasks.decoding`."""
    from mobilevit_tools.tasks.overlay import colours

    (scores,) = outputs
    count, height, width = scores.shape
    size = contract.preprocessing.input_size
    palette = tuple((int(red), int(green), int(blue)) for red, green, blue in colours(count))
    return MapDecoding(count, (height, width), size, palette), largest(scores, size).astype(np.int32)


def class_map(outputs: Sequence[NDArray[Any]], artifact: Answering) -> NDArray[np.int64]:
    """Return the class of each pixel of the first photo, (H, W) of the input's size.

    Scores are resized (bilinear) before the largest is taken, a smaller class map by its nearest place.

    Raises:
        BadInputError: The artifact gives something else than its contract says.
        GateError: A score is not finite.
    """
    holds, size = artifact.contract.output, artifact.contract.preprocessing.input_size
    wanted = 4 if holds == "score_map" else 3
    given = outputs[0] if outputs else np.zeros(())
    if len(outputs) != 1 or given.ndim != wanted or len(given) != artifact.batch or not given.size:
        shown = ", ".join("x".join(map(str, each.shape)) for each in outputs)
        raise BadInputError(f"{artifact.path} gives {shown}, but its contract says one {holds}.", code="no_score_map")
    row = given[0]
    artifact.check_finite(row, artifact.path)
    if holds == "score_map":
        return largest(row, size)
    classes = artifact.contract.classes or len(artifact.contract.labels or ()) or MOST_CLASSES
    if row.min() < 0 or row.max() >= classes:
        raise BadInputError(f"{artifact.path} returns indices outside of its {classes} classes.", code="no_score_map")
    found = torch.from_numpy(np.asarray(row, np.float32))[None, None]
    nearest = functional.interpolate(found, size=size, mode="nearest-exact")
    return np.asarray(nearest[0, 0].numpy(), np.int64)


def largest(scores: NDArray[Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the class of the largest score at each pixel (H, W) of scores (classes, h, w) resized to ``size``."""
    resized = torch.from_numpy(np.asarray(scores, np.float32))[None]
    if tuple(resized.shape[-2:]) != size:
        resized = functional.interpolate(resized, size=size, mode="bilinear", align_corners=False)
    return np.asarray(resized[0].argmax(0).numpy(), np.int64)


def _shares(classes: NDArray[np.int64], contract: Contract) -> tuple[ClassShare, ...]:
    counts = np.bincount(classes.ravel())
    labels = contract.labels or ()
    return tuple(
        ClassShare(
            labels[index] if index < len(labels) else str(index), int(index), float(counts[index] / classes.size)
        )
        for index in np.argsort(-counts, kind="stable")
        if counts[index]
    )
