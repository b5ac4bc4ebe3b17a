"""Measure detectors on photos with boxes in COCO's layout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.data.coco import read_coco
from mobilevit_tools.data.images import load_image
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.tasks.detect import best_of, chosen
from mobilevit_tools.tasks.suppression import LEAST_SCORE
from mobilevit_tools.verification.evaluations import ClassPrecision, DetectEvalResult, UnreadablePhoto
from mobilevit_tools.verification.mean_precision import Detected, check_installed, mean_precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from mobilevit_tools.api.evaluate_others import Evaluation
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
    artifact = asked.artifact
    contract = artifact.contract
    truth = read_coco(annotations, asked.data)
    categories = truth.categories_of(contract.labels, contract.classes)
    seen: list[int] = []
    found: list[Detected] = []
    own: list[Detected] = []
    unreadable = []
    detected = partial(_detected, recipe=contract.preprocessing, categories=categories)
    count = len(truth.photos)
    with asked.progress(f"Evaluating {artifact.path.name} on {count} photos", count) as advance:
        for number, photo in truth.photos:
            advance()
            try:
                image = load_image(photo)
                truth.check_size(number, image.size)
            except BadInputError as error:
                unreadable.append(UnreadablePhoto(photo, error.message))
                continue
            seen.append(number)
            pixels = contract.preprocessing.pixels(image)
            found += detected(chosen(artifact, pixels, photo, least_score=LEAST_SCORE), image, number)
            if asked.reference is not None:
                wanted = asked.reference(contract.preprocessing.normalize(pixels[None]))
                own += detected(best_of(wanted[0][0], wanted[1][0]), image, number)
    if not seen:
        raise BadInputError(
            f"None of the {count} photos of {asked.data} can be read, among them: {unreadable[0].reason}",
            code="no_images",
        )
    truth.check_measurable(seen)
    measured = mean_precision(truth.dataset, seen, found)
    names = {each["id"]: str(each["name"]) for each in truth.dataset["categories"]}
    return DetectEvalResult(
        artifact=artifact.path,
        data=asked.data,
        annotations=annotations,
        images=len(seen),
        mean_ap=measured.whole,
        ap50=measured.at_50,
        ap75=measured.at_75,
        ap_small=measured.small,
        ap_medium=measured.medium,
        ap_large=measured.large,
        recall=measured.recall,
        detections=len(found),
        reference_mean_ap=mean_precision(truth.dataset, seen, own).whole if asked.reference is not None else None,
        classes=tuple(
            ClassPrecision(index, names[category], measured.categories[category])
            for index, category in enumerate(categories)
        ),
        unreadable=tuple(unreadable),
        sha256=asked.sha256,
    )


def _detected(
    rows: NDArray[np.float64], image: Image.Image, number: int, recipe: Preprocessing, categories: Sequence[int]
) -> list[Detected]:
    """Return detections (K, 6) of an image's input in its own pixels, of its own categories."""
    return [
        Detected(number, categories[int(kind)], tuple(map(float, corners)), float(score))
        for corners, score, kind in zip(recipe.in_image(rows[:, :4], image), rows[:, 4], rows[:, 5], strict=True)
    ]
