"""Measure what is no classifier: segmenters on photos with masks, embeddings on photos of classes, detectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobilevit_tools.api.evaluate_detection import evaluate_detector
from mobilevit_tools.api.evaluation import Evaluation
from mobilevit_tools.data.folders import list_images
from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.masks import load_mask, pair_masks
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.tasks.embed import cosine_similarity, directions, embedding
from mobilevit_tools.tasks.segment import class_map, largest
from mobilevit_tools.verification.accuracy import TOP_K, wilson_interval
from mobilevit_tools.verification.evaluations import (
    ClassIoU,
    DetectEvalResult,
    RetrievalEvalResult,
    SegmentEvalResult,
    UnreadablePhoto,
)
from mobilevit_tools.verification.retrieval import rivals
from mobilevit_tools.verification.segmentation import (
    IGNORED,
    PixelCounts,
    bootstrap_interval,
    count_pixels,
    ious,
    mean_iou,
)
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.class_order import ClassOrder

MEASURED_OTHERWISE = ("segment", "detect", "embed")
"""Tasks whose artifacts are not measured as classifiers are."""


def evaluate_other(
    asked: Evaluation, masks: str | Path | None, coco: str | Path | None, class_order: ClassOrder | None
) -> SegmentEvalResult | DetectEvalResult | RetrievalEvalResult:
    """Measure an artifact of one of these tasks on what is known of its photos.

    Raises:
        UsageError: What is given is for another task.
    """
    if class_order is not None:
        raise UsageError("--class-order applies to classifiers only.", hint="Omit --class-order.")
    task = asked.artifact.contract.means
    refuse_truth(
        asked.artifact.path, masks=None if task == "segment" else masks, coco=None if task == "detect" else coco
    )
    if task == "segment":
        return evaluate_segmenter(asked, None if masks is None else Path(masks))
    if task == "detect":
        return evaluate_detector(asked, None if coco is None else Path(coco))
    return evaluate_embedding(asked)


def refuse_truth(path: Path, *, masks: str | Path | None, coco: str | Path | None) -> None:
    """Refuse what is known of photos for an artifact of another task.

    Raises:
        UsageError: It is given.
    """
    if masks is not None:
        raise UsageError(f"--masks requires a segmenter, and {path} is not one.", hint="Omit --masks.")
    if coco is not None:
        raise UsageError(f"--coco requires a detector, and {path} is not one.", hint="Omit --coco.")


def evaluate_segmenter(asked: Evaluation, masks: Path | None) -> SegmentEvalResult:
    """Measure the mean intersection over union on photos and their masks, at the artifact's input size.

    Raises:
        UsageError: No masks are given.
        BadInputError: Photos have no masks, or a mask has what is no class, or nothing can be read.
    """
    if masks is None:
        raise UsageError(
            "Evaluating a segmenter requires masks.",
            hint="Pass --masks DIR with one PNG of class indices per photo, named like the photo.",
        )
    contract = asked.artifact.contract
    classes = contract.classes or len(contract.labels or ())
    ran = _segment_all(asked, masks, classes)
    both, truth_pixels, said_pixels = _summed(ran.counts)
    labels = contract.labels or tuple(map(str, range(classes)))
    each = ious(both, truth_pixels, said_pixels)
    return SegmentEvalResult(
        artifact=asked.artifact.path,
        data=asked.data,
        masks=masks,
        images=len(ran.counts),
        miou=float(mean_iou(both, truth_pixels, said_pixels)),
        interval=bootstrap_interval(ran.counts),
        pixel_accuracy=float(both.sum() / max(1, truth_pixels.sum())),
        agreement=float(np.mean(ran.same)) if ran.same else None,
        reference_miou=float(mean_iou(*_summed(ran.own))) if ran.own else None,
        classes=tuple(
            ClassIoU(
                index, labels[index], None if np.isnan(each[index]) else float(each[index]), int(truth_pixels[index])
            )
            for index in range(classes)
        ),
        unreadable=tuple(ran.unreadable),
        sha256=asked.sha256,
    )


@dataclass
class _SegmentRun:
    """What was counted on the photos: of the artifact, of the model, where they agree, and what was unreadable."""

    counts: list[PixelCounts] = field(default_factory=list)
    own: list[PixelCounts] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    unreadable: list[UnreadablePhoto] = field(default_factory=list)


def _segment_all(asked: Evaluation, masks: Path, classes: int) -> _SegmentRun:
    """Run the artifact, and the model where there is one, on every photo that has a mask.

    Raises:
        BadInputError: Photos have no masks, or a mask has what is no class, or nothing can be read.
    """
    contract, ran = asked.artifact.contract, _SegmentRun()
    pairs = pair_masks(asked.data, masks)
    with asked.progress(
        f"Evaluating {asked.artifact.path.name} on {number_of(len(pairs), 'photos')}", len(pairs)
    ) as advance:
        for photo, mask in pairs:
            try:
                image = load_image(photo)
                truth = contract.preprocessing.classes(load_mask(mask, image.size))
            except BadInputError as error:
                ran.unreadable.append(UnreadablePhoto(photo, error.message))
                continue
            finally:
                advance()
            _check_classes(truth, classes, mask)
            pixels = contract.preprocessing.pixels(image)
            said = class_map(asked.artifact.ask(pixels), asked.artifact)
            ran.counts.append(count_pixels(truth, said, classes))
            scores = asked.model(pixels)
            if scores is not None:
                wanted = largest(scores, contract.preprocessing.input_size)
                ran.own.append(count_pixels(truth, wanted, classes))
                ran.same.append(float((said == wanted).mean()))
    if not ran.counts:
        raise BadInputError(f"None of the {len(pairs)} photos of {asked.data} can be read.", code="no_images")
    return ran


def evaluate_embedding(asked: Evaluation) -> RetrievalEvalResult:
    """Measure on an ImageFolder how often the nearest other photos show the same class.

    Raises:
        BadInputError: The photos are in no classes' folders, or no class has two that can be read.
    """
    folder = list_images(asked.data)
    if not folder.classes:
        raise BadInputError(
            f"The images in {asked.data} are not in class folders.",
            hint="Give an ImageFolder: one folder a class.",
            code="no_labels",
        )
    vectors, own, labels, unreadable = [], [], [], []
    count = len(folder.images)
    with asked.progress(f"Evaluating {asked.artifact.path.name} on {number_of(count, 'photos')}", count) as advance:
        for photo, label in zip(folder.images, folder.targets, strict=True):
            advance()
            try:
                pixels = asked.artifact.pixels(photo)
            except BadInputError as error:
                unreadable.append(UnreadablePhoto(photo, error.message))
                continue
            vectors.append(embedding(asked.artifact, pixels, photo))
            labels.append(label)
            wanted = asked.model(pixels)
            if wanted is not None:
                own.append(np.asarray(wanted, np.float64))
    found = _found(vectors, labels)
    if not len(found):
        raise BadInputError(f"No class of {asked.data} has two photos that can be read.", code="no_images")
    hits = int((found == 0).sum())
    return RetrievalEvalResult(
        artifact=asked.artifact.path,
        data=asked.data,
        images=len(found),
        recall_at_1=hits / len(found),
        interval=wilson_interval(hits, len(found)),
        recall_at_5=float((found < TOP_K).mean()),
        reference_recall_at_1=float((_found(own, labels) == 0).mean()) if own else None,
        cosine=min(
            (float(cosine_similarity(a[None], b[None])[0, 0]) for a, b in zip(vectors, own, strict=True)), default=None
        )
        if own
        else None,
        unreadable=tuple(unreadable),
        sha256=asked.sha256,
    )


def _found(vectors: Sequence[NDArray[np.float64]], labels: Sequence[int]) -> NDArray[np.int64]:
    """Return the rivals of the photos that are not alone in their class."""
    if not vectors:
        return np.zeros(0, np.int64)
    found = rivals(directions(np.stack(vectors)), np.asarray(labels, np.int64))
    return found[found >= 0]


def _summed(counts: Sequence[PixelCounts]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    def total(pick: Callable[[PixelCounts], NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.asarray(np.sum([pick(each) for each in counts], axis=0))

    return total(lambda each: each.both), total(lambda each: each.truth), total(lambda each: each.said)


def _check_classes(truth: NDArray[np.uint8], classes: int, mask: Path) -> None:
    beyond = truth[(truth >= classes) & (truth != IGNORED)]
    if beyond.size:
        raise BadInputError(
            f"{mask} has the class {int(beyond[0])}, and the artifact has {classes}, from 0 on.",
            hint=f"A mask holds class indices of the artifact, and {IGNORED} for pixels to ignore.",
            code="bad_mask",
        )
