"""What an evaluation found: a classifier, a segmenter, a detector or an embedding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mobilevit_tools.result import Result
from mobilevit_tools.verification.accuracy import Confusion


@dataclass(frozen=True)
class Score:
    """The figure by which artifacts of one task are compared; all shares are fractions from 0 to 1.

    Attributes:
        name: What it is, such as ``top-1``.
        value: The figure; the larger, the better.
        interval: Its 95 % interval; None where there is none.
        agreement: Share in which the PyTorch float32 model says the same; None where that was not run or has none.
        reference: The PyTorch model's own figure; None where it was not run.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    agreement: float | None
    reference: float | None


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo, or its mask, that could not be read; it is in no figure."""

    image: Path
    reason: str


@dataclass(frozen=True)
class ClassResult:
    """One class's share.

    Attributes:
        index: The class.
        label: Its name, or its index where names are unknown.
        images: How many images show it.
        correct: How many of them were recognised.
    """

    index: int
    label: str
    images: int
    correct: int


@dataclass(frozen=True, repr=False)
class EvalResult(Result, command="eval"):
    """What an evaluation found; all shares are fractions from 0 to 1.

    Attributes:
        artifact: The artifact.
        data: The photos.
        images: How many photos were classified.
        top1: Share whose most probable class is the right one; ties count as wrong.
        interval: 95 % interval of ``top1`` (Wilson).
        top5: Share whose right class is among the five most probable.
        agreement: Share with the same top-1 as the PyTorch float32 model; None where that was not run.
        reference_top1: The PyTorch model's own top-1 on the same photos; None where it was not run.
        non_finite: Photos on which the output holds NaN or infinity.
        images_per_second: Inference alone, on ``threads`` threads of this machine.
        threads: Threads of one inference.
        label_rule: How the photos' labels were matched to the model's classes.
        unreadable: Photos that could not be read; they are in no figure.
        classes: Every class with photos.
        confusions: Mistakes by true and predicted class, the most frequent first, 100 at most.
        sha256: Digest of the artifact, as its manifest has it.
    """

    artifact: Path
    data: Path
    images: int
    top1: float
    interval: tuple[float, float]
    top5: float
    agreement: float | None
    reference_top1: float | None
    non_finite: int
    images_per_second: float
    threads: int
    label_rule: str
    unreadable: tuple[UnreadablePhoto, ...]
    classes: tuple[ClassResult, ...]
    confusions: tuple[Confusion, ...]
    sha256: str | None = None

    @property
    def score(self) -> Score:
        """The share of photos that are recognised."""
        return Score("top-1", self.top1, self.interval, self.agreement, self.reference_top1)


@dataclass(frozen=True)
class ClassIoU:
    """One class of a segmentation.

    Attributes:
        index: The class.
        label: Its name, or its index where names are unknown.
        iou: Its intersection over union, over all photos; None where it is nowhere and was said nowhere.
        pixels: How many pixels are of it.
    """

    index: int
    label: str
    iou: float | None
    pixels: int


@dataclass(frozen=True, repr=False)
class SegmentEvalResult(Result, command="eval"):
    """What an evaluation of a segmenter found, at its input's size; all shares are fractions from 0 to 1.

    Attributes:
        artifact: The artifact.
        data: The photos.
        masks: Their masks.
        images: How many photos were segmented.
        miou: Mean intersection over union, over the classes that are somewhere or were said somewhere.
        interval: 95 % interval of ``miou``, by drawing the photos anew; None of a single photo.
        pixel_accuracy: Share of pixels of the right class.
        agreement: Share of pixels of the PyTorch float32 model's class; None where that was not run.
        reference_miou: The PyTorch model's own mean IoU; None where it was not run.
        classes: Every class.
        unreadable: Photos that could not be read, or whose mask could not.
        sha256: Digest of the artifact, as its manifest has it.
    """

    artifact: Path
    data: Path
    masks: Path
    images: int
    miou: float
    interval: tuple[float, float] | None
    pixel_accuracy: float
    agreement: float | None
    reference_miou: float | None
    classes: tuple[ClassIoU, ...]
    unreadable: tuple[UnreadablePhoto, ...]
    sha256: str

    @property
    def score(self) -> Score:
        """The mean intersection over union."""
        return Score("mean IoU", self.miou, self.interval, self.agreement, self.reference_miou)


@dataclass(frozen=True)
class ClassPrecision:
    """One class of a detection.

    Attributes:
        index: The class.
        label: Its name in the annotations.
        ap: Its average precision, over overlaps from 0.5 to 0.95; None where no photo shows it.
    """

    index: int
    label: str
    ap: float | None


@dataclass(frozen=True, repr=False)
class DetectEvalResult(Result, command="eval"):
    """What an evaluation of a detector found, in COCO's figures; all from 0 to 1.

    Attributes:
        artifact: The artifact.
        data: The photos.
        annotations: Their boxes.
        images: How many photos were looked at.
        mean_ap: Mean average precision, over classes and overlaps from 0.5 to 0.95.
        interval: 95 % interval of ``mean_ap``, by drawing the photos anew; None of a single photo.
        ap50: At an overlap of 0.5.
        ap75: At an overlap of 0.75.
        ap_small: Of boxes of less than 32 x 32 pixels; None where there are none, as for the next two.
        ap_medium: Of boxes up to 96 x 96 pixels.
        ap_large: Of larger ones.
        recall: Mean recall with 100 boxes a photo.
        detections: How many boxes scored above 0.05 and were left, 100 a photo at most.
        reference_mean_ap: The PyTorch model's own mean average precision; None where it was not run.
        classes: Every class.
        unreadable: Photos that could not be read; they are in no figure.
        sha256: Digest of the artifact, as its manifest has it.
    """

    artifact: Path
    data: Path
    annotations: Path
    images: int
    mean_ap: float
    interval: tuple[float, float] | None
    ap50: float
    ap75: float
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    recall: float
    detections: int
    reference_mean_ap: float | None
    classes: tuple[ClassPrecision, ...]
    unreadable: tuple[UnreadablePhoto, ...]
    sha256: str

    @property
    def score(self) -> Score:
        """The mean average precision."""
        return Score("mean AP", self.mean_ap, self.interval, None, self.reference_mean_ap)


@dataclass(frozen=True, repr=False)
class RetrievalEvalResult(Result, command="eval"):
    """How often the nearest photos show the same class; all shares are fractions from 0 to 1.

    Attributes:
        artifact: The artifact.
        data: The photos.
        images: How many photos were asked about: all that are not alone in their class.
        recall_at_1: Share whose nearest other photo is of the same class; ties count as wrong.
        interval: 95 % interval of ``recall_at_1`` (Wilson).
        recall_at_5: Share with one of the same class among the five nearest.
        reference_recall_at_1: The PyTorch model's own; None where it was not run.
        cosine: The least cosine of an embedding with the PyTorch model's; None where that was not run.
        unreadable: Photos that could not be read.
        sha256: Digest of the artifact, as its manifest has it.
    """

    artifact: Path
    data: Path
    images: int
    recall_at_1: float
    interval: tuple[float, float]
    recall_at_5: float
    reference_recall_at_1: float | None
    cosine: float | None
    unreadable: tuple[UnreadablePhoto, ...]
    sha256: str

    @property
    def score(self) -> Score:
        """The share of photos whose nearest other one is of their class."""
        return Score("recall at 1", self.recall_at_1, self.interval, None, self.reference_recall_at_1)


Evaluated: TypeAlias = EvalResult | SegmentEvalResult | DetectEvalResult | RetrievalEvalResult
"""What ``mvt eval`` gives, whatever the task."""
