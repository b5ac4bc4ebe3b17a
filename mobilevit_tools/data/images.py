"""Read one photo as RGB, whatever its colour model, depth and orientation; sizes are bounded before any decoding."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.paths import hint_for_missing

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 120_000_000  # above the largest common phone sensor (108 megapixels); 360 MB as RGB
# Only formats that Pillow decodes in this process: its EPS plugin, for one, would start Ghostscript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Photos all the same: in a folder of photos they are named as unreadable, where leaving them out would be silent."""


@cache
def photo_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, by which files in a folder are told to be photos.

    They are those that Pillow gives to :data:`FORMATS`, such as ``.jfif`` and ``.jpe`` for JPEG, and HEIC's.
    """
    from PIL import Image

    Image.init()
    return HEIC_SUFFIXES.union(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def load_image(path: Path) -> Image.Image:
    """Return the image at ``path`` as RGB, 8 bits a channel, upright.

    The EXIF orientation is applied where it can be read. Transparency is laid over white. Greyscale is repeated over
    the channels, CMYK converted without its colour profile, as torchvision does. 16-bit values are scaled to 8 bits.
    Of an animation, the first frame counts.

    Raises:
        BadInputError: There is no image, it is damaged, has too many pixels, or pixels of an unknown range.
    """
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        if path.is_dir():
            raise BadInputError(
                f"{path} is a folder, not an image.", hint=f"Give its photos: {path}/*.jpg", code="no_such_image"
            )
        raise BadInputError(f"{path} does not exist.", hint=hint_for_missing(path), code="no_such_image")
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=known) as image:
                _check_size(path, image.width, image.height)
                return _to_rgb(_upright(image), path)
        except BadInputError:
            raise
        except UnidentifiedImageError as error:
            raise _not_an_image(path) from error
        except Image.DecompressionBombError as error:
            raise _too_large(path) from error
        except Exception as error:  # a garbled image can raise nearly anything
            said = str(error).partition("\n")[0] or type(error).__name__
            raise BadInputError(
                f"{path} is a truncated or damaged image: {said.rstrip('.')}.",
                hint="Copy or download it again.",
                code="damaged_image",
            ) from error


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF says.

    Pillow's `exif_transpose` also writes the whole EXIF anew, which fails where any other tag is mistyped.
    """
    from PIL import ExifTags
    from PIL.Image import Transpose

    image.load()  # outside the `try`: a PNG's EXIF may follow its pixels, and those may be damaged
    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        method = methods.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # garbled EXIF can raise nearly anything, and the pixels are whole
        return image
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I"):
        return _from_16_bit(image, path).convert("RGB")
    if image.mode == "F":
        raise _unknown_range(path, "floating-point")
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image, path: Path) -> Image.Image:
    """Scale 0-65535 to 0-255; Pillow's own conversion would clip everything above 255."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise _unknown_range(path, "32-bit")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width}x{height}")


def _too_large(path: Path, size: str = "even more") -> BadInputError:
    return BadInputError(
        f"{path} has more than {MAX_PIXELS // 1_000_000} million pixels ({size}).",
        hint="Scale it down first.",
        code="image_too_large",
    )


def _unknown_range(path: Path, kind: str) -> BadInputError:
    return BadInputError(
        f"{path} holds {kind} pixels, whose value range is unknown.",
        hint="Convert it to 8 or 16 bits per channel.",
        code="image_range",
    )


def _not_an_image(path: Path) -> BadInputError:
    with path.open("rb") as stream:
        start = stream.read(32)
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return BadInputError(
            f"{path} is a HEIC photo, which is not supported.", hint="Convert it to JPEG or PNG.", code="not_an_image"
        )
    what = "is empty" if not start else "is not in a supported image format"
    return BadInputError(
        f"{path} {what}.",
        hint="Supported: JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, JPEG 2000 and PPM.",
        code="not_an_image",
    )
