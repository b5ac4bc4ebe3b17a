"""Masks of a segmentation: PNGs that hold the class index of each pixel, one beside each photo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.data.folders import list_images
from mobilevit_tools.data.images import MAX_PIXELS
from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    from PIL import Image

LISTED = 5
_MODES = ("P", "L")


def pair_masks(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Return each photo of a folder with its mask: the PNG of the same name in the same place of the other folder.

    Raises:
        BadInputError: A folder is missing, there are no photos, or some have no mask.
    """
    if not masks.is_dir():
        raise BadInputError(f"{masks} is not a folder.", hint="Give a folder of PNGs.", code="no_such_folder")
    photos = list_images(images).images
    pairs = [(photo, masks / photo.relative_to(images).with_suffix(".png")) for photo in photos]
    missing = [photo.name for photo, mask in pairs if not mask.is_file()]
    if missing:
        shown = ", ".join(missing[:LISTED]) + (" and more" if len(missing) > LISTED else "")
        raise BadInputError(
            f"{len(missing)} of {len(pairs)} photos have no mask in {masks}: {shown}.",
            hint="A mask has the relative path of its photo, with the suffix .png.",
            code="no_mask",
        )
    return pairs


def load_mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """Return a mask as an image of class indices, mode L.

    Args:
        path: A PNG with a palette, whose indices are the classes, or of 8-bit grey values that are.
        size: Width and height of its photo.

    Raises:
        BadInputError: It is no such mask, or of another size.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as opened:
            _check(path, opened, size)
            opened.load()
            return Image.frombytes("L", opened.size, opened.tobytes())
    except BadInputError:
        raise
    except Exception as error:  # a garbled image can raise nearly anything
        raise BadInputError(f"{path} cannot be read as PNG.", code="bad_mask") from error


def _check(path: Path, mask: Image.Image, size: tuple[int, int]) -> None:
    """Refuse a mask by what its header says, before its pixels are read."""
    if mask.width * mask.height > MAX_PIXELS:
        raise BadInputError(f"{path} is too large for a mask.", code="image_too_large")
    if mask.mode not in _MODES:
        raise BadInputError(
            f"{path} holds {mask.mode} pixels, and a mask holds class indices.",
            hint="Save it with a palette (P) or as 8-bit grey values (L), each the index of a class.",
            code="bad_mask",
        )
    if mask.size != size:
        shown, wanted = (f"{width}x{height}" for width, height in (mask.size, size))
        raise BadInputError(f"{path} is {shown}, and its photo is {wanted}.", code="bad_mask")
