"""Where the pictures of predictions are written: one beside each photo, or all in one folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import UsageError

if TYPE_CHECKING:
    from mobilevit_tools.tasks._base import Asked


def picture_paths(images: Sequence[Path], asked: Asked, kind: str) -> list[Path]:
    """Return each photo's picture, ``NAME.KIND.png``.

    Raises:
        UsageError: Two photos would have the same one, or one is there already and not to be replaced.
    """
    from mobilevit_tools.writing import check_file

    pictures = [
        (image.parent if asked.output is None else asked.output) / f"{image.stem}.{kind}.png" for image in images
    ]
    if repeated := [str(path) for path, count in Counter(pictures).items() if count > 1]:
        raise UsageError(
            f"Several photos would have the same output file: {repeated[0]}.",
            hint="Rename them, or predict them one by one.",
        )
    for picture in pictures:
        check_file(picture, overwrite=asked.overwrite)
    return pictures
