"""Every kind of image arrives as the RGB that people see, and everything else as one clear sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from mobilevit_tools.data import images as module_under_test
from mobilevit_tools.data.images import load_image
from mobilevit_tools.errors import BadInputError, ExitCode


@pytest.fixture
def gradient() -> np.ndarray:
    """An RGB picture (24, 32, 3) whose four corners differ, smooth enough for JPEG."""
    rows, columns = np.mgrid[0:24, 0:32]
    return np.stack([rows * 10, columns * 8, 255 - rows * 4 - columns * 4], axis=-1).astype(np.uint8)


def loaded(path: Path) -> np.ndarray:
    image = load_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def refusal(path: Path) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        load_image(path)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.message.startswith(str(path))
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp", "jpg", "jp2"])
def test_formats(gradient: np.ndarray, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(gradient).save(path, quality=95, lossless=suffix == "webp", subsampling=0)
    assert np.abs(loaded(path) - gradient).max() <= (8 if suffix == "jpg" else 0)


def test_the_content_counts_and_not_the_suffix(gradient: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(gradient).save(path, format="png")
    assert (loaded(path) == gradient).all()


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda pixels: pixels),
        (2, lambda pixels: pixels[:, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (4, lambda pixels: pixels[::-1]),
        (5, lambda pixels: pixels.transpose(1, 0, 2)),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (7, lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1]),
        (8, lambda pixels: np.rot90(pixels, 1)),
    ],
)
def test_exif_orientation(gradient: np.ndarray, tmp_path: Path, orientation: int, upright: object) -> None:
    path = tmp_path / "image.png"
    image = Image.fromarray(gradient)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    assert (loaded(path) == upright(gradient)).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(10))
def test_where_pillow_can_turn_an_image_it_turns_it_alike(
    gradient: np.ndarray, tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"image.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient).save(path, exif=exif)
    with Image.open(path) as image:
        assert (loaded(path) == np.asarray(ImageOps.exif_transpose(image))).all()


def exif_block(orientation: bytes) -> bytes:
    """EXIF with this entry, and a resolution that is a text."""
    resolution = struct.pack(">HHI4s", 0x011A, 2, 4, b"72")
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + orientation + resolution + bytes(4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_mistyped_tag_is_no_damage(gradient: np.ndarray, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(gradient).save(path)
    lying = loaded(path)
    Image.fromarray(gradient).save(path, exif=exif_block(struct.pack(">HHIHxx", 0x0112, 3, 1, 6)))
    assert (loaded(path) == np.rot90(lying, -1)).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0no directory at all",
        exif_block(struct.pack(">HHI4s", 0x0112, 2, 2, b"6")),
        exif_block(struct.pack(">HHIxxxx", 0x0112, 3, 0)),
        exif_block(struct.pack(">HHII", 0x0112, 3, 1 << 30, 1 << 30)),
    ],
)
def test_an_orientation_that_cannot_be_read_is_none(
    gradient: np.ndarray, tmp_path: Path, suffix: str, exif: bytes
) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(gradient).save(path)
    lying = loaded(path)
    Image.fromarray(gradient).save(path, exif=exif)
    assert (loaded(path) == lying).all()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_greyscale_is_repeated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    grey = np.full((8, 8), 200, dtype=np.uint8)
    Image.fromarray(grey).save(path)
    assert (loaded(path) == 200).all()


def test_one_bit(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).convert("1", dither=Image.Dither.NONE).save(path)
    assert (loaded(path) == np.eye(8, dtype=int)[..., None] * 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    """Pure cyan ink on white paper is cyan; a JPEG stores the inks inverted."""
    path = tmp_path / f"image.{suffix}"
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(path, quality=95)
    assert np.abs(loaded(path) - [0, 255, 255]).max() <= 3
    Image.new("CMYK", (16, 16), (0, 0, 0, 255)).save(path, quality=95)
    assert loaded(path).max() <= 3
    Image.new("CMYK", (16, 16), (0, 0, 0, 0)).save(path, quality=95)
    assert loaded(path).min() >= 252


def test_lab(tmp_path: Path) -> None:
    path = tmp_path / "image.tiff"
    red = Image.new("RGB", (4, 4), (200, 30, 40))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    ImageCms.applyTransform(red, to_lab).save(path)
    assert np.abs(loaded(path) - [200, 30, 40]).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = 0, 51, 255  # black, at three opacities
    Image.fromarray(pixels).convert(mode).save(path)
    assert np.abs(loaded(path)[0] - np.array([[255] * 3, [204] * 3, [0] * 3])).max() <= 1


def test_a_transparent_palette_colour_is_laid_over_white(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(path, transparency=0)
    assert (loaded(path) == [[[255, 255, 255], [200, 100, 50]]]).all()
    image.save(path)
    assert (loaded(path) == [[[10, 20, 30], [200, 100, 50]]]).all()


def test_a_transparent_colour_key_is_laid_over_white(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)).save(path, transparency=(1, 2, 3))
    assert (loaded(path) == [[[255, 255, 255], [4, 5, 6]]]).all()


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bit_greyscale_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    values = np.array([[0, 255, 256, 257, 32768, 65278, 65535]], dtype=np.uint16)
    if suffix == "pgm":
        path.write_bytes(b"P5 7 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    assert loaded(path)[0, :, 0].tolist() == [0, 1, 1, 1, 128, 254, 255]


def test_a_dark_16_bit_image_stays_dark(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((4, 4), 200, dtype=np.uint16)).save(path)
    assert loaded(path).max() == 1


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 257, 25700, 51400)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )
    assert np.abs(loaded(path) - [[[255, 128, 0], [1, 100, 200]]]).max() <= 1


@pytest.mark.parametrize(("dtype", "said"), [(np.float32, "floating-point"), (np.int32, "32-bit")])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, dtype: type, said: str) -> None:
    path = tmp_path / "image.tiff"
    Image.fromarray(np.array([[0, 70000]], dtype=dtype)).save(path)
    assert said in refusal(path).message


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=10, lossless=True)
    assert (loaded(path) == [255, 0, 0]).all()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", 1000) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + end


@pytest.mark.parametrize(("width", "height"), [(12_001, 10_000), (60_000, 60_000), (2_000_000_000, 2_000_000_000)])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png_header(width, height))
    error = refusal(path)
    assert error.error_code == "image_too_large"
    assert "more than 120 million pixels" in error.message


def test_a_photo_of_a_108_megapixel_phone_passes_the_size_check(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png_header(12_000, 9_000))
    assert refusal(path).error_code == "damaged_image"


def test_the_size_is_checked_before_decoding(
    gradient: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(gradient).save(path)
    monkeypatch.setattr(module_under_test, "MAX_PIXELS", 24 * 32 - 1)
    monkeypatch.setattr(Image.Image, "load", lambda _self: pytest.fail("decoded"))
    assert refusal(path).error_code == "image_too_large"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp", "gif"])
def test_a_cut_image_is_damaged(gradient: np.ndarray, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error = refusal(path)
    assert error.error_code in ("damaged_image", "not_an_image")
    assert error.hint is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"not an image\n" * 100, "is not in a supported image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not in a supported image format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not in a supported image format"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(64), "is a HEIC photo"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    error = refusal(path)
    assert said in error.message
    assert error.error_code == "not_an_image"


def test_no_program_is_started_for_a_postscript_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.eps"
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, format="EPS")
    path.write_bytes(buffer.getvalue())
    monkeypatch.setattr("subprocess.check_call", lambda *_args, **_options: pytest.fail("a program was started"))
    assert refusal(path).error_code == "not_an_image"


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent.png").message
    assert "is a folder" in refusal(tmp_path).message
