"""The photos on which a static quantizer measures the ranges of activations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.progress import Progress, counted, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobilevit_tools.data.preprocessing import Preprocessing

MEASURING = "Measuring ranges on the calibration photos"
DEFAULT_SIZE = 200
MAX_SIZE = 5_000
SEED = 0
HELD_OUT = 100
"""Photos to judge predictions on, where the folder has as many beside those that calibration wants."""
LEAST_HELD_OUT = 50
"""Where it has not, calibration gives up to half of the folder for so many."""
SMALLEST_SPLIT = 20
"""A smaller folder is used whole: an agreement over fewer than ten photos says nothing."""


@dataclass(frozen=True)
class CalibrationRecord:
    """What a calibration was made of, for the manifest.

    Attributes:
        images: How many photos were used.
        held_out: How many others of the folder the artifact's predictions were judged on.
        seed: The seed of their choice.
        sha256: Digest of their pixels after preprocessing, in order.
        unreadable: Names of photos that were chosen and could not be read; others took their places.
    """

    images: int
    seed: int
    sha256: str
    unreadable: tuple[str, ...]
    held_out: int = 0


@dataclass(frozen=True)
class Calibration:
    """Photos, prepared as the model wants them.

    Attributes:
        pixels: uint8 (N, 3, H, W), resized and cropped as in evaluation.
        preprocessing: How they were prepared and are to be normalised.
        record: What they are.
        held_out: Photos of the same folder that ranges are not measured on, uint8 (3, H, W) by name.
        progress: Told by whoever measures ranges.
    """

    pixels: NDArray[np.uint8]
    preprocessing: Preprocessing
    record: CalibrationRecord
    held_out: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    progress: Progress = field(default=silent, compare=False, repr=False)

    def watched(self, arrays: Iterable[NDArray[Any]], size: int) -> Iterator[NDArray[Any]]:
        """Yield all batches of ``size`` photos to measure ranges on them, and tell how far that is."""
        return counted(self.progress, MEASURING, arrays, -(-len(self.pixels) // size))

    def pixel_batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield pixels (``size``, 3, H, W); the last batch is filled up from the first photos."""
        import numpy as np

        for start in range(0, len(self.pixels), size):
            yield self.pixels[np.arange(start, start + size) % len(self.pixels)]

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Yield normalised inputs (``size``, 3, H, W), in the same order."""
        return map(self.preprocessing.normalize, self.pixel_batches(size))


def held_out_of(readable: int, size: int) -> int:
    """Return how many of a folder's photos are held out of a calibration that wants ``size``."""
    if readable < SMALLEST_SPLIT:
        return 0
    return min(HELD_OUT, max(readable - size, min(LEAST_HELD_OUT, readable // 2)))


def load_calibration(
    folder: Path, preprocessing: Preprocessing, size: int = DEFAULT_SIZE, progress: Progress = silent
) -> Calibration:
    """Choose ``size`` photos of a folder (flat, or an ImageFolder), others to hold out, and prepare them all.

    Photos are prepared as evaluation does. The choice depends on their names and the seed alone: of a seeded order, the
    first are for calibration and the next are held out. Where there are fewer than ``size`` beside those that are held
    out, all of these are used.

    Raises:
        UsageError: ``size`` is out of range.
        BadInputError: There is no such folder, or no photo in it can be read.
    """
    import numpy as np

    from mobilevit_tools.data.folders import list_images
    from mobilevit_tools.data.images import load_image

    if not 1 <= size <= MAX_SIZE:
        raise UsageError(f"A calibration takes 1 to {MAX_SIZE} photos, not {size}.", hint="A few hundred are enough.")
    found = list_images(folder).images
    pixels: dict[str, NDArray[np.uint8]] = {}
    unreadable: list[str] = []
    with progress("Loading the calibration photos", min(size + HELD_OUT, len(found))) as advance:
        for index in np.random.default_rng(SEED).permutation(len(found)):
            if len(pixels) == size + HELD_OUT:
                break
            name = found[index].relative_to(folder).as_posix()
            try:
                pixels[name] = preprocessing.pixels(load_image(found[index]))
            except BadInputError:
                unreadable.append(name)
            else:
                advance()
    if not pixels:
        raise BadInputError(f"None of the {len(found)} photos in {folder} can be read.", code="no_images")
    held_out = held_out_of(len(pixels), size)
    used = min(size, len(pixels) - held_out)
    stacked = np.stack(list(pixels.values())[:used])
    digest = hashlib.sha256(stacked.tobytes()).hexdigest()
    return Calibration(
        stacked,
        preprocessing,
        CalibrationRecord(used, SEED, digest, tuple(unreadable), held_out),
        dict(list(pixels.items())[used : used + held_out]),
        progress,
    )
