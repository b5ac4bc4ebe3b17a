"""What is told of one photo, task by task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.result import Shown


@dataclass(frozen=True, repr=False)
class Guess(Shown):
    """One class of a prediction.

    Attributes:
        label: The class's name, or its index where names are unknown.
        index: The class's index.
        probability: Between 0 and 1; None where there is one output alone, which may as well be a logit, a
            probability or a measure, or where a classifier of others gives scores that do not sum to 1: only its
            model's authors know.
        value: The model's output for the class: a logit, as a rule.
    """

    label: str
    index: int
    probability: float | None
    value: float


@dataclass(frozen=True, repr=False)
class Prediction(Shown):
    """One image's most probable classes, the most probable first."""

    image: Path
    top: tuple[Guess, ...]


@dataclass(frozen=True, repr=False)
class ClassShare(Shown):
    """One class of a class map.

    Attributes:
        label: The class's name, or its index where names are unknown.
        index: The class's index.
        share: Of the pixels, between 0 and 1.
    """

    label: str
    index: int
    share: float


@dataclass(frozen=True, repr=False)
class SegmentPrediction(Shown):
    """One image's classes by the pixel.

    Attributes:
        image: The image.
        shares: The classes that it has, the largest share first.
        size: Height and width of the class map.
        overlay: The classes over the photo, with a legend, as a PNG.
    """

    image: Path
    shares: tuple[ClassShare, ...]
    size: tuple[int, int]
    overlay: Path


@dataclass(frozen=True, repr=False)
class Found(Shown):
    """One thing that was found.

    Attributes:
        label: Its class's name, or its index where names are unknown.
        index: The class's index.
        score: How sure the model is of it, between 0 and 1.
        box: Left, top, right and bottom in pixels of the image.
    """

    label: str
    index: int
    score: float
    box: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class DetectPrediction(Shown):
    """What was found in one image.

    Attributes:
        image: The image.
        found: All of it, the best score first.
        size: The image's height and width.
        overlay: The boxes on the photo, with labels and scores, as a PNG.
    """

    image: Path
    found: tuple[Found, ...]
    size: tuple[int, int]
    overlay: Path


@dataclass(frozen=True, repr=False)
class Neighbour(Shown):
    """Another image, and how near its embedding is.

    Attributes:
        image: The image.
        cosine: Of the angle between the two embeddings: 1 is the same direction.
    """

    image: Path
    cosine: float


@dataclass(frozen=True, repr=False)
class EmbedPrediction(Shown):
    """One image's nearest neighbours among the others, the nearest first.

    Attributes:
        image: The image.
        dimensions: How many numbers its embedding has.
        norm: The embedding's Euclidean length.
        neighbours: The nearest of the other images.
    """

    image: Path
    dimensions: int
    norm: float
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, repr=False)
class RawOutput(Shown):
    """One output of an artifact for one image, in figures.

    Attributes:
        name: Its name.
        shape: Its sizes, without the batch.
        min: Its least value.
        mean: The mean of its values.
        max: Its largest value.
    """

    name: str
    shape: tuple[int, ...]
    min: float
    mean: float
    max: float


@dataclass(frozen=True, repr=False)
class RawPrediction(Shown):
    """One image's outputs, in the artifact's order."""

    image: Path
    outputs: tuple[RawOutput, ...]
