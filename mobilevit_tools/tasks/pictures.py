"""Where the pictures of predictions are written: into one folder, never among the photos unasked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import UsageError

if TYPE_CHECKING:
    from mobilevit_tools.tasks._base import Asked


DEFAULT_FOLDER = Path("predictions")
"""Beside the photos, pictures would be taken for photos when the folder is used for calibration."""


def picture_paths(images: Sequence[Path], asked: Asked, kind: str) -> list[Path]:
    """Return each photo's picture, ``NAME.KIND.png``.

    Raises:
        UsageError: Two photos would have the same one, or one is there already and not to be replaced.
    """
    from mobilevit_tools.writing import check_file

    folder = DEFAULT_FOLDER if asked.output is None else asked.output
    pictures = [folder / f"{image.stem}.{kind}.png" for image in images]
    if repeated := [str(path) for path, count in Counter(pictures).items() if count > 1]:
        raise UsageError(
            f"Several photos would have the same output file: {repeated[0]}.",
            hint="Rename them, or predict them one by one.",
        )
    for picture in pictures:
        check_file(picture, overwrite=asked.overwrite)
    return pictures
