"""A picture of a class map: each class in its colour over the photo, and a legend below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.tasks.shown import ClassShare

OPACITY = 0.55
LEAST_SIDE = 320
"""Smaller pictures are enlarged by a whole factor, so that a legend has space and pixels stay what they are."""
_ROW, _MARGIN, _SQUARE = 22, 8, 14
_BITS = 8


def colours(classes: int) -> NDArray[np.uint8]:
    """Return a colour for each class (classes, 3), those of Pascal VOC: black for class 0, neighbours far apart."""
    indices = np.arange(classes)
    made = np.zeros((classes, 3), np.uint8)
    for level in range(_BITS):
        for channel in range(3):
            made[:, channel] |= (((indices >> (3 * level + channel)) & 1) << (_BITS - 1 - level)).astype(np.uint8)
    return made


def overlay(pixels: NDArray[np.uint8], classes: NDArray[np.integer], shares: Sequence[ClassShare]) -> bytes:
    """Return a PNG.

    Args:
        pixels: The photo as the artifact saw it (3, H, W).
        classes: The class of each of its pixels (H, W).
        shares: What the legend names, one a line.
    """
    palette = colours(int(classes.max()) + 1)
    photo = pixels.transpose(1, 2, 0).astype(np.float64)
    mixed = (1 - OPACITY) * photo + OPACITY * palette[classes]
    factor = max(1, -(-LEAST_SIDE // min(classes.shape)))
    enlarged = np.rint(mixed).astype(np.uint8).repeat(factor, 0).repeat(factor, 1)
    height, width = enlarged.shape[:2]
    picture = Image.new("RGB", (width, height + 2 * _MARGIN + _ROW * len(shares)), "white")
    picture.paste(Image.fromarray(enlarged), (0, 0))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default()
    for row, share in enumerate(shares):
        top = height + _MARGIN + row * _ROW
        colour = tuple(int(value) for value in palette[share.index])
        draw.rectangle((_MARGIN, top, _MARGIN + _SQUARE, top + _SQUARE), fill=colour, outline="black")
        # Pillow's own font has Latin letters, and its fallback of bits no others at all.
        label = share.label.encode("latin-1", "replace").decode("latin-1")
        draw.text((2 * _MARGIN + _SQUARE, top + 1), f"{label}  {share.share:.1%}", fill="black", font=font)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
