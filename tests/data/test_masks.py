"""Masks are PNGs of class indices, one for each photo, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilevit_tools.data.masks import load_mask, pair_masks
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError

INDICES = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_a_palette_and_grey_values_are_indices(tmp_path: Path) -> None:
    grey = Image.fromarray(INDICES)
    palette = Image.frombytes("P", (4, 3), INDICES.tobytes())
    palette.putpalette([255 - value for value in range(256)] * 3)
    for number, image in enumerate((grey, palette)):
        image.save(tmp_path / f"{number}.png")
        assert np.array_equal(np.asarray(load_mask(tmp_path / f"{number}.png", (4, 3))), INDICES)


@pytest.mark.parametrize(
    ("mode", "size", "said"),
    [("RGB", (4, 3), "RGB pixels"), ("I;16", (4, 3), "I;16"), ("L", (3, 4), "3x4, and its photo is 4x3")],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, mode: str, size: tuple[int, int], said: str) -> None:
    Image.new(mode, size).save(tmp_path / "mask.png")
    with pytest.raises(BadInputError, match=said):
        load_mask(tmp_path / "mask.png", (4, 3))
    (tmp_path / "mask.png").write_bytes(b"no image")
    with pytest.raises(BadInputError, match="as PNG"):
        load_mask(tmp_path / "mask.png", (4, 3))


def test_a_mask_has_its_photos_name_and_place(tmp_path: Path) -> None:
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for folder in (photos, masks):
        (folder / "inner").mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(photos / "inner" / "a.jpg")
    with pytest.raises(BadInputError, match=r"1 of 1 photos have no mask in .*: a\.jpg"):
        pair_masks(photos, masks)
    Image.new("L", (4, 3)).save(masks / "inner" / "a.png")
    assert pair_masks(photos, masks) == [(photos / "inner" / "a.jpg", masks / "inner" / "a.png")]
    with pytest.raises(BadInputError, match="is not a folder"):
        pair_masks(photos, tmp_path / "nowhere")


@pytest.mark.parametrize("crop", [None, 0.5, 1.0])
def test_a_mask_is_resized_and_cropped_as_its_photo(crop: float | None) -> None:
    indices = np.random.default_rng(0).integers(0, 200, (30, 40)).astype(np.uint8)
    photo = Image.fromarray(np.repeat(indices[..., None], 3, axis=2))
    recipe = Preprocessing((12, 20), crop_fraction=crop, interpolation="nearest")
    assert np.array_equal(recipe.classes(Image.fromarray(indices)), recipe.pixels(photo)[0])
