"""The inputs of a verification: photos, seeded noise, and stress inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilevit_tools.data.preprocessing import Preprocessing

MAX_PHOTOS = 256
"""All inputs of a verification are in memory at once."""
NOISE_INPUTS = 2
LARGE_ACTIVATION = 8.0
"""Standard deviation of the large-activation input, where a normalised photo's is about 1."""


@dataclass(frozen=True)
class VerificationInput:
    """One image to run through both sides.

    Attributes:
        name: Shown in reports; a photo's file name, with as many folders as tell it from the other photos.
        kind: Where it comes from.
        tensor: The normalised input (1, 3, H, W), float32.
        pixels: The same as uint8 (1, 3, H, W); None where no image gives this tensor.
    """

    name: str
    kind: Literal["photo", "noise", "stress", "held-out"]
    tensor: NDArray[np.float32]
    pixels: NDArray[np.uint8] | None


def build_inputs(preprocessing: Preprocessing, photos: Sequence[Path]) -> list[VerificationInput]:
    """Prepare the photos and add seeded noise and stress inputs at the preprocessing's size.

    Of more than ``MAX_PHOTOS`` photos that many are taken, evenly over their order.

    Raises:
        BadInputError: A photo cannot be read.
    """
    from mobilevit_tools.data.images import load_image

    taken = min(len(photos), MAX_PHOTOS)
    chosen = [photos[index * len(photos) // taken] for index in range(taken)]
    height, width = preprocessing.input_size
    rng = np.random.default_rng(0)
    pixels: list[tuple[str, Literal["photo", "noise", "stress"], NDArray[np.uint8]]] = [
        (name, "photo", preprocessing.pixels(load_image(path)))
        for name, path in zip(_names(chosen), chosen, strict=True)
    ]
    pixels += [
        (f"noise {index + 1}", "noise", rng.integers(0, 256, (3, height, width), dtype=np.uint8))
        for index in range(NOISE_INPUTS)
    ]
    checkerboard = (np.indices((height, width)).sum(axis=0) % 2 * 255).astype(np.uint8)
    saturated = np.zeros((3, height, width), dtype=np.uint8)
    saturated[0] = 255
    pixels += [
        ("black", "stress", np.zeros((3, height, width), dtype=np.uint8)),
        ("white", "stress", np.full((3, height, width), 255, dtype=np.uint8)),
        ("saturated red", "stress", saturated),
        ("checkerboard", "stress", np.broadcast_to(checkerboard, (3, height, width)).copy()),
    ]
    inputs = [
        VerificationInput(name, kind, preprocessing.normalize(image)[None], image[None]) for name, kind, image in pixels
    ]
    large = LARGE_ACTIVATION * rng.standard_normal((1, 3, height, width))
    inputs.append(VerificationInput("large activations", "stress", large.astype(np.float32), None))
    return inputs


def held_out_inputs(preprocessing: Preprocessing, photos: Mapping[str, NDArray[np.uint8]]) -> list[VerificationInput]:
    """Prepare photos (3, H, W) by name that calibration has left out, and that its agreement is judged on."""
    return [
        VerificationInput(name, "held-out", preprocessing.normalize(pixels)[None], pixels[None])
        for name, pixels in photos.items()
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the last parts of each path, as few as no other path ends with."""

    def ending(path: Path, parts: int) -> str:
        return "/".join(path.parts[-parts:])

    names = {path: path.name for path in paths}
    for parts in range(2, max((len(path.parts) for path in paths), default=0) + 1):
        repeated = {name for name, count in Counter(names.values()).items() if count > 1}
        names |= {path: ending(path, parts) for path, name in names.items() if name in repeated}
    return [names[path] for path in paths]
