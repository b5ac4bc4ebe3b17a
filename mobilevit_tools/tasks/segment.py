"""Segmentation: a score for each class at each place, or the class of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilevit_tools.data.labels import check_label_count
from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
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
            hint="Let the model return the map alone, or a dict with it as logits or out; or leave --task segment out.",
            code="no_score_map",
        )
    classes = tensors[index].shape[1]
    if not 2 <= classes <= MOST_CLASSES:
        raise BadInputError(
            f"{loaded.name} returns {classes} scores at each place, and classes are at least two.",
            hint="A mask of one score is for --task raw." if classes == 1 else None,
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
