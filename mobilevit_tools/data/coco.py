"""Photos with boxes in a file of COCO's layout (``instances_val2017.json``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilevit_tools.documents import DocumentKind, read_document
from mobilevit_tools.errors import BadInputError

ANNOTATIONS = DocumentKind(
    "a COCO annotation file",
    "bad_annotations",
    hint="Pass a file with images, categories, and annotations with boxes, such as instances_val2017.json.",
    max_bytes=2 * 1024**3,
)
MOST_PIXELS = 1e9
"""Of a side; nothing larger is an image, and NaN is not less."""
LISTED = 5


@dataclass(frozen=True)
class CocoPhotos:
    """What such a file says.

    Attributes:
        path: The file.
        dataset: All of it, as pycocotools takes it: annotations have ``id``, ``area`` and ``iscrowd``.
        photos: Each image's number and path, in the file's order.
        sizes: The width and height that it states of images, by their numbers: its boxes are in pixels of that size.
    """

    path: Path
    dataset: Mapping[str, Any]
    photos: tuple[tuple[int, Path], ...]
    sizes: Mapping[int, tuple[int, int]]

    def check_size(self, number: int, size: tuple[int, int]) -> None:
        """Refuse an image of another width and height than the boxes are for.

        Raises:
            BadInputError: It has been resized, or turned.
        """
        stated = self.sizes.get(number, size)
        if stated != size:
            photo = dict(self.photos)[number]
            raise BadInputError(
                f"{photo} has {size[0]} x {size[1]} pixels, but its boxes are for {stated[0]} x {stated[1]}.",
                hint="Pass the photos that were annotated.",
                code="other_size",
            )

    def check_measurable(self, images: Sequence[int]) -> None:
        """Refuse images without boxes, of which no precision can be told.

        Raises:
            BadInputError: None of them has a box that is no crowd.
        """
        looked_at = set(images)
        if not any(each["image_id"] in looked_at and not each["iscrowd"] for each in self.dataset["annotations"]):
            raise BadInputError(
                f"{self.path} has no boxes for the photos that can be read, so there is nothing to measure.",
                hint="Pass the annotations of these photos.",
                code="no_annotations",
            )

    def categories_of(self, labels: Sequence[str] | None, classes: int) -> tuple[int, ...]:
        """Return the category of each class: by name where the model's labels are all there, else in order of numbers.

        The order is believed where no label that is there says otherwise.

        Args:
            labels: The model's class names; None where they are unknown.
            classes: How many classes it has.

        Raises:
            BadInputError: There are others, in another order, or another number of them.
        """
        ids = {str(each["name"]): int(each["id"]) for each in self.dataset["categories"]}
        if len(ids) != len(self.dataset["categories"]):
            raise _refusal(self.path, "two of its categories have the same name")
        if labels is not None and set(labels) <= ids.keys():
            return tuple(ids[label] for label in labels)
        if len(ids) != classes:
            unknown = [label for label in labels or () if label not in ids][:LISTED]
            raise BadInputError(
                f"{self.path} has {len(ids)} categories, and the artifact {classes} classes"
                + (f", of which it does not know {', '.join(unknown)}." if unknown else "."),
                hint="Export with --labels that match the category names of the file.",
                code="class_count",
            )
        ordered = tuple(sorted(ids.values()))
        for label, number in zip(labels or (), ordered, strict=False):
            if ids.get(label, number) != number:
                raise BadInputError(
                    f"The categories of {self.path} are in another order than the artifact's classes, of which it does "
                    f"not know {', '.join(each for each in labels or () if each not in ids)[:200]}.",
                    hint="Export with --labels that match the category names of the file.",
                    code="class_order",
                )
        return ordered


def read_coco(path: Path, photos: Path) -> CocoPhotos:
    """Read such a file, for photos in a folder.

    Raises:
        BadInputError: It cannot be read, lacks something, or names photos outside of the folder.
    """
    if path.exists() and not path.is_file():
        raise _refusal(path, "it is no file")
    dataset = read_document(path, ANNOTATIONS)
    if not isinstance(dataset, dict):
        raise _refusal(path, "it is not an object")
    _check(path, dataset, "images", {"id": int, "file_name": str})
    _check(path, dataset, "categories", {"id": int, "name": str})
    _check(path, dataset, "annotations", {"image_id": int, "category_id": int, "bbox": list})
    if not dataset["images"] or not dataset["categories"]:
        raise _refusal(path, "it has no images or no categories")
    for key in ("images", "categories"):
        if len({each["id"] for each in dataset[key]}) != len(dataset[key]):
            raise _refusal(path, f"two of its {key} have the same id")
    if any(not _is_name(each["file_name"]) for each in dataset["images"]):
        raise _refusal(path, "some of its file_names can be none")
    folder = photos.resolve()
    found = [(each["id"], photos / each["file_name"]) for each in dataset["images"]]
    if any(not photo.resolve().is_relative_to(folder) for _, photo in found):
        raise _refusal(path, f"it names photos outside of {photos}")
    sizes = {each["id"]: (each.get("width"), each.get("height")) for each in dataset["images"]}
    stated = {number: size for number, size in sizes.items() if all(type(side) is int and side > 0 for side in size)}
    return CocoPhotos(path, {**dataset, "annotations": _complete(path, dataset)}, tuple(found), stated)


def _is_name(name: str) -> bool:
    try:
        return bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _complete(path: Path, dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations, each with a number of its own, an area and whether it is a crowd."""
    images, categories = ({each["id"] for each in dataset[key]} for key in ("images", "categories"))
    complete = []
    for number, each in enumerate(dataset["annotations"], 1):
        box = each["bbox"]
        if len(box) != 4 or not all(map(_is_length, box)) or min(box[2:]) < 0:
            raise _refusal(path, f"the box of an annotation is {str(box)[:40]}, not left, top, width and height")
        if each["image_id"] not in images or each["category_id"] not in categories:
            raise _refusal(path, "an annotation is of an image or category that it does not have")
        area, crowd = each.get("area", box[2] * box[3]), each.get("iscrowd", 0)
        if not isinstance(area, int | float) or not 0 <= area < MOST_PIXELS**2 or crowd not in (0, 1):
            raise _refusal(path, "the area or iscrowd of an annotation is not a number")
        complete.append(
            {"id": number, "area": area, "iscrowd": int(crowd)}
            | {key: each[key] for key in ("image_id", "category_id", "bbox")}
        )
    return complete


def _is_length(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < MOST_PIXELS


def _check(path: Path, dataset: Mapping[str, Any], key: str, wanted: Mapping[str, type]) -> None:
    entries = dataset.get(key)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise _refusal(path, f"it has no list of {key}")
    for name, kind in wanted.items():
        if not all(type(each.get(name)) is kind for each in entries):
            raise _refusal(path, f"some of its {key} have no {name}")


def _refusal(path: Path, why: str) -> BadInputError:
    return ANNOTATIONS.error(f"{path} is not a COCO annotation file: {why}.")
