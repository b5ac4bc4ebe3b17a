"""Measure detectors on photos with boxes in COCO's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.data.coco import CocoPhotos, read_coco
from mobilevit_tools.data.images import load_image
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.tasks.detect import best_of, chosen
from mobilevit_tools.tasks.suppression import LEAST_SCORE
from mobilevit_tools.verification.evaluations import ClassPrecision, DetectEvalResult, UnreadablePhoto
from mobilevit_tools.verification.mean_precision import Detected, check_installed, mean_precision
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from mobilevit_tools.api.evaluation import Evaluation
    from mobilevit_tools.data.preprocessing import Preprocessing


def evaluate_detector(asked: Evaluation, annotations: Path | None) -> DetectEvalResult:
    """Measure the mean average precision on photos, as COCO does: boxes that score above 0.05, 100 a photo.

    Raises:
        UsageError: No boxes are given.
        BadInputError: They cannot be used, are of other classes or photos, or no photo can be read.
        MissingDependencyError: pycocotools is not installed.
        GateError: An output is not finite.
    """
    if annotations is None:
        raise UsageError(
            "Evaluating a detector requires boxes.",
            hint="Pass --coco FILE, a COCO annotation file such as instances_val2017.json.",
        )
    check_installed()
    contract = asked.artifact.contract
    truth = read_coco(annotations, asked.data)
    categories = truth.categories_of(contract.labels, contract.classes)
    ran = _detect_all(asked, truth, categories)
    truth.check_measurable(ran.seen)
    measured = mean_precision(truth.dataset, ran.seen, ran.found)
    own = None if asked.reference is None else mean_precision(truth.dataset, ran.seen, ran.own).whole
    names = {each["id"]: str(each["name"]) for each in truth.dataset["categories"]}
    return DetectEvalResult(
        artifact=asked.artifact.path,
        data=asked.data,
        annotations=annotations,
        images=len(ran.seen),
        mean_ap=measured.whole,
        interval=measured.interval,
        ap50=measured.at_50,
        ap75=measured.at_75,
        ap_small=measured.small,
        ap_medium=measured.medium,
        ap_large=measured.large,
        recall=measured.recall,
        detections=len(ran.found),
        reference_mean_ap=own,
        classes=tuple(
            ClassPrecision(index, names[category], measured.categories[category])
            for index, category in enumerate(categories)
        ),
        unreadable=tuple(ran.unreadable),
        sha256=asked.sha256,
    )


@dataclass
class _Run:
    """What was found on the photos: their numbers, detections of the artifact and of the model, what was unreadable."""

    seen: list[int] = field(default_factory=list)
    found: list[Detected] = field(default_factory=list)
    own: list[Detected] = field(default_factory=list)
    unreadable: list[UnreadablePhoto] = field(default_factory=list)


def _detect_all(asked: Evaluation, truth: CocoPhotos, categories: Sequence[int]) -> _Run:
    """Run the artifact, and the model where there is one, on every photo.

    Raises:
        BadInputError: None of them can be read.
    """
    recipe, ran, count = asked.artifact.contract.preprocessing, _Run(), len(truth.photos)
    detected = partial(_detected, recipe=recipe, categories=categories)
    with asked.progress(f"Evaluating {asked.artifact.path.name} on {number_of(count, 'photos')}", count) as advance:
        for number, photo in truth.photos:
            advance()
            try:
                image = load_image(photo)
                truth.check_size(number, image.size)
            except BadInputError as error:
                ran.unreadable.append(UnreadablePhoto(photo, error.message))
                continue
            ran.seen.append(number)
            pixels = recipe.pixels(image)
            ran.found += detected(chosen(asked.artifact, pixels, photo, least_score=LEAST_SCORE), image, number)
            if asked.reference is not None:
                wanted = asked.reference(recipe.normalize(pixels[None]))
                ran.own += detected(best_of(wanted[0][0], wanted[1][0]), image, number)
    if not ran.seen:
        raise BadInputError(
            f"None of the {count} photos of {asked.data} can be read, among them: {ran.unreadable[0].reason}",
            code="no_images",
        )
    return ran


def _detected(
    rows: NDArray[np.float64], image: Image.Image, number: int, recipe: Preprocessing, categories: Sequence[int]
) -> list[Detected]:
    """Return detections (K, 6) of an image's input in its own pixels, of its own categories."""
    return [
        Detected(number, categories[int(kind)], tuple(map(float, corners)), float(score))
        for corners, score, kind in zip(recipe.in_image(rows[:, :4], image), rows[:, 4], rows[:, 5], strict=True)
    ]
