"""Labelled photos: an ImageFolder (one folder a class) or a CSV of ``path,label``, matched to a model's classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os.path import realpath
from pathlib import Path

from mobilevit_tools.data.class_order import ClassOrder, Reading, is_index, reading_of, readings
from mobilevit_tools.data.folders import list_images
from mobilevit_tools.data.labels import MAX_BYTES
from mobilevit_tools.errors import BadInputError

LABELS_FILE = "labels.txt"
MAX_CSV_BYTES = 256 * 1024 * 1024
LISTED = 5
HINT = f"Name the folders like the model's labels, or add a {LABELS_FILE} with lines `folder name`."


@dataclass(frozen=True)
class LabelledImages:
    """Photos and the classes that they show.

    Attributes:
        images: Each photo's path and class index, in a fixed order.
        rule: How labels were matched to classes, in words.
        readings: Ways to read the folders' names that contradict each other, where nothing but what the model answers
            can tell which is meant; ``images`` are labelled by the first. Empty where there is no doubt.
    """

    images: tuple[tuple[Path, int], ...]
    rule: str
    readings: tuple[Reading, ...] = ()

    def relabelled(self, reading: Reading) -> dict[int, int]:
        """Return the class that ``reading`` gives to the photos of each class in ``images``."""
        return {index: reading.classes[folder] for folder, index in self.readings[0].classes.items()}


def read_labelled(
    source: Path, labels: Sequence[str] | None, num_classes: int, order: ClassOrder | None = None
) -> LabelledImages:
    """Read labelled photos and match their labels to a model's classes.

    The folders of an ImageFolder are matched by the first of these rules that fits all of them:

    1. their names are the model's labels, but for case, blanks, underscores and hyphens;
    2. a ``labels.txt`` in the ImageFolder or the folder above gives each a name, one ``folder name`` a line, and the
       names are the model's labels (for a model without labels the file has a line for each class, in their order);
    3. their names are class indices, or there are as many folders as classes: then they are taken in sorted order, as
       training frameworks do. Frameworks sort 2 and 10 differently; ways to read that contradict each other are
       returned as ``readings``. A ``labels.txt`` that contradicts the model rules a sorted order out, and so does a
       folder with one of the model's labels: one misspelt name among them would give every class another's photos.

    A CSV has lines ``path,label``, with or without that heading; paths are relative to its folder and stay inside it,
    labels are the model's labels or class indices. Where the model's labels are numbers, they are names if all of the
    file's are.

    Args:
        source: A folder or a ``.csv`` file.
        labels: The model's class names in index order; None where they are unknown.
        num_classes: How many classes the model has.
        order: How to read the folders' names, whatever the rules say.

    Raises:
        BadInputError: There are no photos, or a label is none of the model's, or the name of several, or the folders
            cannot be read in ``order``.
    """
    if not source.is_file():
        return _read_image_folder(source, labels, num_classes, order)
    if order is not None:
        raise BadInputError(f"{source} has no class folders.", hint="Omit --class-order.", code="class_order")
    return _read_csv(source, labels, num_classes)


def _read_image_folder(
    source: Path, labels: Sequence[str] | None, num_classes: int, order: ClassOrder | None
) -> LabelledImages:
    folder = list_images(source)
    if not folder.classes:
        raise BadInputError(
            f"The images in {source} are not in class folders.",
            hint="Give an ImageFolder (one folder a class), or a CSV of path,label.",
            code="no_labels",
        )
    found: tuple[Reading, ...] = ()
    if order is not None:
        found = (reading_of(order, folder.classes, num_classes),)
        classes, rule = found[0].classes, found[0].rule
    elif (named := _match_names(source, folder.classes, labels, num_classes)) is not None:
        classes, rule = named
    else:
        found = _match_order(folder.classes, labels, num_classes)
        classes, rule = found[0].classes, found[0].rule
    return LabelledImages(
        tuple(
            (path, classes[folder.classes[target]]) for path, target in zip(folder.images, folder.targets, strict=True)
        ),
        rule,
        found if len(found) > 1 else (),
    )


def _match_names(
    source: Path, folders: Sequence[str], labels: Sequence[str] | None, num_classes: int
) -> tuple[Mapping[str, int], str] | None:
    classes = _Classes(labels or ())
    if all(folder in classes for folder in folders):
        return {folder: classes.index(folder) for folder in folders}, "folder names are the model's labels"
    names = _read_names(source)
    if names is not None and all(folder in names for folder in folders):
        found = _look_up(folders, names, None if labels is None else classes, num_classes)
        return found, f"folder names looked up in {LABELS_FILE}"
    return None


def _match_order(folders: Sequence[str], labels: Sequence[str] | None, num_classes: int) -> tuple[Reading, ...]:
    classes = _Classes(labels or ())
    strangers = [folder for folder in folders if folder not in classes]
    if len(strangers) < len(folders) and not all(is_index(folder, num_classes) for folder in folders):
        raise _misspelt(strangers, [label for label in labels or () if label not in _Classes(folders)], len(folders))
    if found := readings(folders, num_classes):
        return found
    raise BadInputError(
        f"The folder {strangers[0]!r} is not one of the model's {num_classes} classes, and {len(folders)} "
        "folders cannot "
        "be matched to them by order.",
        hint=HINT,
        code="bad_labels",
    )


def _misspelt(strangers: Sequence[str], left: Sequence[str], folders: int) -> BadInputError:
    """Return the error of folders without a label's name beside others that have one; ``left`` has no folder."""
    nearest = [(name, get_close_matches(name, left, n=1, cutoff=0.5)) for name in strangers[:LISTED]]
    guesses = ", ".join(f"{found[0]!r} for {name!r}" for name, found in nearest if found)
    listed = ", ".join(map(repr, strangers[:LISTED])) + (" and more" if len(strangers) > LISTED else "")
    return BadInputError(
        f"{folders - len(strangers)} of the {folders} folders are named as the model's labels, and {listed} "
        f"{'is' if len(strangers) == 1 else 'are'} not.",
        hint=f"Did you mean {guesses}?" if guesses else HINT,
        code="bad_labels",
    )


def _look_up(
    folders: Sequence[str], names: Mapping[str, str], classes: _Classes | None, num_classes: int
) -> dict[str, int]:
    """Return the class of each folder by its name in a ``labels.txt``; without labels by the order of the lines."""
    if classes is None:
        if len(names) != num_classes:  # which line would be which class?
            raise BadInputError(
                f"{LABELS_FILE} names {len(names)} classes; the model has {num_classes}, and no labels of its own.",
                hint="Write a line for each class, in the order of the model's outputs.",
                code="bad_labels",
            )
        order = {folder: index for index, folder in enumerate(names)}
        return {folder: order[folder] for folder in folders}
    unknown = next((names[folder] for folder in folders if names[folder] not in classes), None)
    if unknown is not None:
        raise BadInputError(
            f"{LABELS_FILE} names the class {unknown!r}, which the model does not have.", code="bad_labels"
        )
    return {folder: classes.index(names[folder]) for folder in folders}


class _Classes:
    """Where names stand in a list: as they are written or, where none is, but for case and what separates words."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._written: dict[str, list[int]] = {}
        self._loose: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            self._written.setdefault(label, []).append(index)
            self._loose.setdefault(_loosely(label), []).append(index)

    def __contains__(self, name: str) -> bool:
        return _loosely(name) in self._loose

    def index(self, name: str) -> int:
        """Return the one class of a name that there is: ImageNet has two that are called crane."""
        found = self._written.get(name) or self._loose[_loosely(name)]
        if len(found) > 1:
            raise BadInputError(
                f"The model has {len(found)} classes named {name!r}, and a photo shows one.",
                hint=f"Use class indices instead of names: {', '.join(map(str, found))}.",
                code="ambiguous_label",
            )
        return found[0]


def _loosely(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _read_names(source: Path) -> dict[str, str] | None:
    """Return folder name to class name from a ``labels.txt``, or None where there is none of that form."""
    for folder in (source, source.resolve().parent):
        path = folder / LABELS_FILE
        if path.is_file() and path.stat().st_size <= MAX_BYTES:
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError) as error:
                raise BadInputError(f"{path} cannot be read as labels: {error}.", code="bad_labels") from error
            pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
            return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    return None


def _read_csv(source: Path, labels: Sequence[str] | None, num_classes: int) -> LabelledImages:
    classes = _Classes(labels or ())
    root = source.parent.resolve()
    images = []
    try:
        if source.stat().st_size > MAX_CSV_BYTES:
            raise BadInputError(f"{source} is too large.", code="bad_labels")
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise BadInputError(f"{source} cannot be read as a CSV of path,label: {error}.", code="bad_labels") from error
    if rows and [cell.strip().lower() for cell in rows[0][1]] == ["path", "label"]:
        rows = rows[1:]
    all_names = all(row[-1].strip() in classes for _, row in rows)
    for number, row in rows:
        if len(row) != 2:
            raise BadInputError(f"Line {number} of {source} is not path,label.", code="bad_labels")
        name, label = row[0].strip(), row[1].strip()
        names_class, indexes = label in classes, is_index(label, num_classes)
        if not names_class and not indexes:
            raise BadInputError(
                f"Line {number} of {source} has the label {label!r}, which is not one of the model's "
                f"{num_classes} classes.",
                code="bad_labels",
            )
        if names_class and indexes and not all_names and classes.index(label) != int(label):
            raise BadInputError(
                f"Line {number} of {source} has the label {label!r}, the name of one class and the index of another.",
                hint="Label all photos by name or all by index.",
                code="ambiguous_label",
            )
        path = source.parent / name
        try:
            inside = Path(realpath(path)).is_relative_to(root)
        except ValueError as error:  # a NUL
            raise BadInputError(f"Line {number} of {source} names no file: {name!r}.", code="bad_labels") from error
        if not inside:
            raise BadInputError(
                f"Line {number} of {source} leads out of its folder: {name}.",
                hint="Put the CSV in the root folder of the photos.",
                code="bad_labels",
            )
        images.append((path, classes.index(label) if names_class else int(label)))
    if not images:
        raise BadInputError(f"{source} lists no photos.", code="no_images")
    return LabelledImages(tuple(images), "labels of the CSV")
