"""Which class a folder of photos is where its name is no label: frameworks do not agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from mobilevit_tools.errors import BadInputError, UsageError

ClassOrder = Literal["index", "text", "natural"]
CLASS_ORDERS: tuple[ClassOrder, ...] = get_args(ClassOrder)

_RULES: Mapping[ClassOrder, str] = MappingProxyType(
    {
        "index": "folder names are class indices",
        "text": "folders in sorted order are the classes, numbers as text (torchvision, Keras)",
        "natural": "folders in sorted order are the classes, numbers by value (timm)",
    }
)


@dataclass(frozen=True)
class Reading:
    """One way to tell classes by folders' names.

    Attributes:
        order: ``index`` where each name is its class's index; ``text`` for names sorted as text, as torchvision and
            Keras do (0, 1, 10, 2); ``natural`` for names sorted with numbers by their value, as timm does.
        classes: The class index of each folder.
    """

    order: ClassOrder
    classes: Mapping[str, int]

    @property
    def rule(self) -> str:
        """The order in words."""
        return _RULES[self.order]


def parse_class_order(text: str) -> ClassOrder:
    """Return the class order of that name.

    Raises:
        UsageError: There is none.
    """
    for order in CLASS_ORDERS:
        if order == text:
            return order
    raise UsageError(f"There is no class order {text!r}.", hint=f"It is one of {', '.join(CLASS_ORDERS)}.")


def readings(folders: Sequence[str], num_classes: int) -> tuple[Reading, ...]:
    """Return the ways to read ``folders`` as classes that differ; empty where there is none.

    Names can be class indices if all of them are. Folders can be taken in an order if there is one for each class; or,
    if there are fewer, if they are plain indices, so that the names of the absent ones are known.
    """
    found: list[Reading] = []
    for order in CLASS_ORDERS:
        classes = _read(order, folders, num_classes)
        if classes is not None and classes not in [each.classes for each in found]:
            found.append(Reading(order, MappingProxyType(classes)))
    # 1 and 01 are one class as indices: then they are nothing else.
    is_one_to_one = found and len(set(found[0].classes.values())) == len(folders)
    return tuple(found if is_one_to_one else found[:1])


def reading_of(order: ClassOrder, folders: Sequence[str], num_classes: int) -> Reading:
    """Return ``folders`` read in the order that was asked for.

    Raises:
        BadInputError: They cannot be read so.
    """
    classes = _read(order, folders, num_classes)
    if classes is None:
        need = "names that are class indices" if order == "index" else f"a folder for each of {num_classes} classes"
        raise BadInputError(
            f"The class order {order!r} needs {need}, and these are {len(folders)} folders from {min(folders)!r} to "
            f"{max(folders)!r}.",
            hint="Omit --class-order to match folders by name.",
            code="class_order",
        )
    return Reading(order, MappingProxyType(classes))


def is_index(text: str, num_classes: int) -> bool:
    """Tell whether ``text`` is the decimal index of one of the classes."""
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < num_classes


def _read(order: ClassOrder, folders: Sequence[str], num_classes: int) -> dict[str, int] | None:
    indices = all(is_index(folder, num_classes) for folder in folders)
    if order == "index":
        return {folder: int(folder) for folder in folders} if indices else None
    key: Callable[[str], object] = _natural if order == "natural" else str
    if len(folders) == num_classes:
        return _places(sorted(folders, key=key))  # type: ignore[arg-type]  # both kinds of key can be compared
    if indices and all(folder == str(int(folder)) for folder in folders):
        places = _places(sorted(map(str, range(num_classes)), key=key))  # type: ignore[arg-type]
        return {folder: places[folder] for folder in folders}
    return None


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _natural(name: str) -> list[str | int]:
    parts = re.split(r"(\d+)", name.lower(), flags=re.ASCII)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
