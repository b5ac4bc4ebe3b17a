"""Pictures of answers: each class of a map in its colour over the photo, or boxes with labels and scores."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.tasks.shown import ClassShare, Found

OPACITY = 0.55
LEAST_SIDE = 320
"""Smaller pictures are enlarged by a whole factor, so that a legend has space and pixels stay what they are."""
_ROW, _MARGIN, _SQUARE = 22, 8, 14
_BITS = 8
_DARK = 384


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
        label = f"{_drawable(share.label)}  {share.share:.1%}"
        draw.text((2 * _MARGIN + _SQUARE, top + 1), label, fill="black", font=font)
    return _png(picture)


def annotated(image: Image.Image, found: Sequence[Found]) -> bytes:
    """Return a PNG of a photo (RGB) with a frame, a label and a score for all that was found, the best on top."""
    picture = image.copy()
    draw = ImageDraw.Draw(picture)
    side = max(image.size)
    font, line = ImageFont.load_default(max(10, side // 50)), max(1, side // 300)
    palette = colours(max((each.index for each in found), default=0) + 2)
    for each in reversed(found):
        colour = tuple(int(value) for value in palette[each.index + 1])  # the first one is black
        left, top, right, bottom = each.box
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
        text = f"{_drawable(each.label)} {each.score:.2f}"
        written = draw.textbbox((0, 0), text, font=font)
        width, height = int(written[2]) + 2, int(written[3]) + 2
        x = min(max(0.0, left), max(0, image.width - width))
        y = top - height if top >= height else top
        draw.rectangle((x, y, x + width, y + height), fill=colour)
        draw.text((x + 1, y), text, fill="white" if sum(colour) < _DARK else "black", font=font)
    return _png(picture)


def _drawable(label: str) -> str:
    # Pillow's own font has Latin letters, and its fallback of bits no others at all.
    return label.encode("latin-1", "replace").decode("latin-1")


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
