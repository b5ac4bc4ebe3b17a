"""Photos with boxes in a file of COCO's layout (``instances_val2017.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilevit_tools.errors import BadInputError

MAX_BYTES = 2 * 1024**3
LISTED = 5


@dataclass(frozen=True)
class CocoPhotos:
    """What such a file says.

    Attributes:
        path: The file.
        dataset: All of it, as pycocotools takes it: annotations have ``id``, ``area`` and ``iscrowd``.
        photos: Each image's number and path, in the file's order.
    """

    path: Path
    dataset: Mapping[str, Any]
    photos: tuple[tuple[int, Path], ...]

    def categories_of(self, labels: Sequence[str] | None, classes: int) -> tuple[int, ...]:
        """Return the category of each class: by name where the model's labels are all there, else in order of numbers.

        Args:
            labels: The model's class names; None where they are unknown.
            classes: How many classes it has.

        Raises:
            BadInputError: There are others, or another number of them.
        """
        ids = {str(each["name"]): int(each["id"]) for each in self.dataset["categories"]}
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
        return tuple(sorted(ids.values()))


def read_coco(path: Path, photos: Path) -> CocoPhotos:
    """Read such a file, for photos in a folder.

    Raises:
        BadInputError: It cannot be read, lacks something, or names photos outside of the folder.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _refusal(path, f"it is larger than {MAX_BYTES // 1024**3} GiB")
        dataset = json.loads(path.read_bytes())
    except OSError as error:
        raise _refusal(path, f"it cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _refusal(path, "it is not JSON") from error
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
    folder = photos.resolve()
    found = [(each["id"], photos / each["file_name"]) for each in dataset["images"]]
    if any(not photo.resolve().is_relative_to(folder) for _, photo in found):
        raise _refusal(path, f"it names photos outside of {photos}")
    return CocoPhotos(path, {**dataset, "annotations": _complete(path, dataset)}, tuple(found))


def _complete(path: Path, dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations, each with a number of its own, an area and whether it is a crowd."""
    images, categories = ({each["id"] for each in dataset[key]} for key in ("images", "categories"))
    complete = []
    for number, each in enumerate(dataset["annotations"], 1):
        box = each["bbox"]
        if len(box) != 4 or not all(isinstance(side, int | float) and abs(side) < 1e9 for side in box):
            raise _refusal(path, f"the box of an annotation is {str(box)[:40]}, not left, top, width and height")
        if each["image_id"] not in images or each["category_id"] not in categories:
            raise _refusal(path, "an annotation is of an image or category that it does not have")
        area, crowd = each.get("area", box[2] * box[3]), each.get("iscrowd", 0)
        if not isinstance(area, int | float) or crowd not in (0, 1):
            raise _refusal(path, "the area or iscrowd of an annotation is not a number")
        complete.append(
            {"id": number, "area": area, "iscrowd": int(crowd)}
            | {key: each[key] for key in ("image_id", "category_id", "bbox")}
        )
    return complete


def _check(path: Path, dataset: Mapping[str, Any], key: str, wanted: Mapping[str, type]) -> None:
    entries = dataset.get(key)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise _refusal(path, f"it has no list of {key}")
    for name, kind in wanted.items():
        if not all(type(each.get(name)) is kind for each in entries):
            raise _refusal(path, f"some of its {key} have no {name}")


def _refusal(path: Path, why: str) -> BadInputError:
    return BadInputError(
        f"{path} is not a COCO annotation file: {why}.",
        hint="Pass a file with images, categories, and annotations with boxes, such as instances_val2017.json.",
        code="bad_annotations",
    )
