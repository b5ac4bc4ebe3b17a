"""Core ML's own non-maximum suppression behind a detector: the form of which Vision makes recognized objects.

It is a kind of model of its own (Core ML's format, ``NonMaximumSuppression.proto``), so a package is a pipeline then.
Vision takes the sum of a box's confidences for that of any object, which must not exceed 1: each box keeps the
confidence of its best class alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import coremltools as ct
import torch
from coremltools.proto import FeatureTypes_pb2, Model_pb2
from torch import Tensor, nn

from mobilevit_tools.data.labels import unique_labels
from mobilevit_tools.tasks.suppression import LEAST_SCORE, MOST_OVERLAP

if TYPE_CHECKING:
    from mobilevit_tools.data.contract import Contract

RAW = ("raw_confidence", "raw_coordinates")
"""What the detector gives to the suppression."""
OBJECTS = ("confidence", "coordinates")
"""What Vision looks for."""
_VERSION = 5
"""Of the format that a suppression needs; the package has the later one of its program."""


class Objects(nn.Module):
    """Gives confidences (N, classes) and coordinates (N, 4), centre and size as shares of the input, of one image.

    Args:
        module: Gives boxes (1, N, 4) in pixels of the input, and scores (1, N, classes).
        size: Height and width of the input.
    """

    shares: Tensor

    def __init__(self, module: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.module = module
        height, width = size
        self.register_buffer("shares", torch.tensor([1 / width, 1 / height]).repeat(2), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the suppression takes."""
        boxes, scores = self.module(images)
        confidences = scores * (scores >= scores.amax(-1, keepdim=True)).to(scores.dtype)
        placed = boxes * self.shares
        first, last = placed[..., :2], placed[..., 2:]
        coordinates = torch.cat([(first + last) / 2, torch.relu(last - first)], -1)
        return confidences[0], coordinates[0]


def with_suppression(package: ct.models.MLModel, contract: Contract) -> ct.models.MLModel:
    """Return a pipeline of a package that gives :data:`RAW`, and Core ML's suppression, class by class."""
    suppression = ct.models.MLModel(_suppression(contract), skip_model_load=True)
    pipeline = ct.utils.make_pipeline(package, suppression)
    for entry, features in zip(pipeline._spec.description.output, (contract.classes, 4), strict=True):
        _any_number_of(entry, features)
    return pipeline


def _suppression(contract: Contract) -> Model_pb2.Model:
    spec = Model_pb2.Model(specificationVersion=_VERSION)
    sizes = contract.classes, 4
    for names, entries in ((RAW, spec.description.input), (OBJECTS, spec.description.output)):
        for name, features in zip(names, sizes, strict=True):
            _any_number_of(entries.add(name=name), features)
    stage = spec.nonMaximumSuppression
    stage.confidenceInputFeatureName, stage.coordinatesInputFeatureName = RAW
    stage.confidenceOutputFeatureName, stage.coordinatesOutputFeatureName = OBJECTS
    for name in ("iouThreshold", "confidenceThreshold"):  # what Vision's threshold providers set
        entry = spec.description.input.add(name=name)
        entry.type.doubleType.SetInParent()
        entry.type.isOptional = True
    stage.iouThreshold, stage.confidenceThreshold = MOST_OVERLAP, LEAST_SCORE
    stage.iouThresholdInputFeatureName, stage.confidenceThresholdInputFeatureName = (
        "iouThreshold",
        "confidenceThreshold",
    )
    stage.pickTop.perClass = True
    labels = contract.labels or tuple(map(str, range(contract.classes)))
    stage.stringClassLabels.vector.extend(unique_labels(labels))
    return spec


def _any_number_of(entry: Model_pb2.FeatureDescription, features: int) -> None:
    array = entry.type.multiArrayType
    array.dataType = FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    del array.shape[:]
    array.ClearField("shapeRange")
    for lower, upper in ((0, -1), (features, features)):
        array.shapeRange.sizeRanges.add(lowerBound=lower, upperBound=upper)
