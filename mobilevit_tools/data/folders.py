"""Folders of images: flat ones, and those with one sub-folder per class."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path

from mobilevit_tools.data.images import photo_suffixes
from mobilevit_tools.errors import BadInputError, UsageError


@dataclass(frozen=True)
class ImageFolder:
    """Images in a fixed order.

    Attributes:
        images: Their paths, sorted by class and then by path.
        classes: The class folders' names, sorted: a name's place is its class index. Empty for a flat folder.
        targets: The class index of each image; empty for a flat folder.
    """

    images: tuple[Path, ...]
    classes: tuple[str, ...]
    targets: tuple[int, ...]

    def subset(self, count: int, *, seed: int = 0) -> ImageFolder:
        """Return ``count`` images drawn without replacement, in the same order; all of them where there are fewer.

        Raises:
            UsageError: ``count`` is not positive.
        """
        if count < 1:
            raise UsageError(f"A subset needs at least one image, not {count}.")
        if count >= len(self.images):
            return self
        drawn = sorted(random.Random(seed).sample(range(len(self.images)), count))  # noqa: S311 - no secret
        return ImageFolder(
            images=tuple(self.images[index] for index in drawn),
            classes=self.classes,
            targets=tuple(self.targets[index] for index in drawn) if self.targets else (),
        )


def list_images(root: Path) -> ImageFolder:
    """List the images in ``root``, or in its class folders and what lies below them.

    Hidden files are left out. The order depends on the names alone.

    Raises:
        BadInputError: ``root`` is no folder, holds no images, mixes images with class folders, or a link in it leads
            out of it.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise BadInputError(f"{root} {what}.", hint="Give a folder of images.", code="no_such_folder")
    try:
        flat, folders = _entries(root, root)
        by_class = {folder.name: images for folder in folders if (images := _walk(folder, root))}
    except OSError as error:
        raise BadInputError(f"{root} cannot be listed: {error.strerror}.", code="unreadable_folder") from error
    if flat and by_class:
        raise BadInputError(
            f"{root} mixes images ({flat[0].name}) with folders of images ({next(iter(by_class))}).",
            hint="Pass a flat folder of images, or one that only contains class folders.",
            code="mixed_folder",
        )
    if not flat and not by_class:
        raise BadInputError(
            f"{root} contains no images.",
            hint=f"Recognised suffixes: {', '.join(sorted(photo_suffixes()))}.",
            code="no_images",
        )
    classes = tuple(by_class)
    return ImageFolder(
        images=tuple(flat) if flat else tuple(path for images in by_class.values() for path in images),
        classes=classes,
        targets=tuple(index for index, name in enumerate(classes) for _ in by_class[name]),
    )


def _walk(folder: Path, root: Path) -> list[Path]:
    images, folders = _entries(folder, root)
    return images + [path for inner in folders for path in _walk(inner, root)]


def _entries(folder: Path, root: Path) -> tuple[list[Path], list[Path]]:
    """Return the images and the folders directly in ``folder``, sorted; links to folders are not followed."""
    # Unlike Path.resolve, realpath takes a link in a circle as it takes any other that leads nowhere.
    images, folders = [], []
    for path in sorted(Path(folder, name) for name in os.listdir(folder) if not name.startswith(".")):  # noqa: PTH208
        if path.is_symlink() and not Path(realpath(path)).is_relative_to(root.resolve()):
            raise BadInputError(
                f"{path} is a link to outside of {root}.", hint="Copy the images there.", code="link_leads_out"
            )
        if path.is_dir():
            if not path.is_symlink():
                folders.append(path)
        elif path.suffix.lower() in photo_suffixes():
            images.append(path)
    return images, folders
