"""From a decoded image to a model's input, the same way for verification, evaluation, calibration and prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SIDE = 8192

Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class Preprocessing:
    """How an RGB image becomes the input of a model.

    Attributes:
        input_size: Height and width in pixels.
        crop_fraction: The share of the resized image that the centre crop keeps (timm's ``crop_pct``); None resizes
            the whole image to ``input_size`` without keeping its aspect ratio.
        interpolation: The resampling filter.
        mean: Per-channel mean, on the 0-1 scale.
        std: Per-channel standard deviation, on the 0-1 scale.

    Raises:
        BadInputError: No image can be prepared in this way.
    """

    input_size: tuple[int, int]
    crop_fraction: float | None = None
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Refuse what no image can be prepared with: artifacts and manifests bring recipes from anyone."""
        if not all(1 <= side <= MAX_SIDE for side in self.input_size):
            raise _refusal(f"sides of {' x '.join(map(str, self.input_size))} pixels", f"between 1 and {MAX_SIDE}")
        if self.crop_fraction is not None and not 0 < self.crop_fraction <= 1:
            raise _refusal(
                f"a crop fraction of {self.crop_fraction}", "above 0 and at most 1, such as 0.875 for 224 of 256 pixels"
            )
        if not all(map(math.isfinite, self.mean)):
            raise _refusal(f"a mean of {', '.join(map(str, self.mean))}", "finite")
        if not all(0 < value < math.inf for value in self.std):
            raise _refusal(f"a standard deviation of {', '.join(map(str, self.std))}", "finite and above 0")
        if max(map(abs, self.mean)) > 1 or max(self.std) > 1:
            raise BadInputError(
                f"A mean of {', '.join(map(str, self.mean))} with a standard deviation of "
                f"{', '.join(map(str, self.std))} is not for pixels from 0 to 1.",
                hint="Divide both by 255 if they are for pixels from 0 to 255.",
                code="bad_preprocessing",
            )

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop an RGB image to an array (3, H, W) of uint8."""
        import numpy as np
        from PIL import Image

        filters = {
            "nearest": Image.Resampling.NEAREST,
            "bilinear": Image.Resampling.BILINEAR,
            "bicubic": Image.Resampling.BICUBIC,
        }
        height, width = self.input_size
        resized = image.resize((width, height), filters[self.interpolation], box=self._box(image))
        return np.ascontiguousarray(np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1))

    def classes(self, mask: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop an image's mask of class indices as the image, by the nearest pixel, to (H, W) of uint8."""
        import numpy as np
        from PIL import Image

        height, width = self.input_size
        resized = mask.resize((width, height), Image.Resampling.NEAREST, box=self._box(mask))
        return np.asarray(resized, dtype=np.uint8)

    def in_image(self, boxes: NDArray[np.floating], image: Image.Image) -> NDArray[np.float64]:
        """Return boxes (N, 4) of the input's pixels, left, top, right and bottom, in those of the image, within it."""
        import numpy as np

        left, top, right, bottom = self._box(image)
        height, width = self.input_size
        scale = np.array([(right - left) / width, (bottom - top) / height] * 2)
        placed = np.asarray(boxes, np.float64) * scale + np.array([left, top] * 2)
        return np.asarray(np.clip(placed, 0, np.array([image.width, image.height] * 2, np.float64)))

    def _box(self, image: Image.Image) -> tuple[float, float, float, float]:
        """Return the part of an image that is seen: left, top, right and bottom."""
        if self.crop_fraction is None:
            return (0.0, 0.0, float(image.width), float(image.height))
        # The part of the original that survives "resize until it covers size / crop_fraction, then centre crop".
        height, width = self.input_size
        scale = max(height / image.height, width / image.width) / self.crop_fraction
        # Rounding may leave the last bit of the covering side outside of the image.
        kept_width, kept_height = min(width / scale, image.width), min(height / scale, image.height)
        left, top = (image.width - kept_width) / 2, (image.height - kept_height) / 2
        return (left, top, left + kept_width, top + kept_height)

    def scale_and_offset(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what normalises pixels by ``pixels * scale + offset``, each of shape (3,), float32."""
        import numpy as np

        mean, std = np.asarray(self.mean), np.asarray(self.std)
        return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scale pixels (..., 3, H, W) to zero mean and unit variance, float32.

        In the very steps of an artifact that normalises by itself, so that both give the same bits.
        """
        import numpy as np

        scale, offset = self.scale_and_offset()
        return pixels.astype(np.float32) * scale[:, None, None] + offset[:, None, None]


def _refusal(found: str, allowed: str) -> BadInputError:
    return BadInputError(f"The preprocessing asks for {found}, which must be {allowed}.", code="bad_preprocessing")
