from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilevit_tools.data.images import load_image
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.quantization.calibration import MEASURING, held_out_of, load_calibration

RECIPE = Preprocessing(input_size=(24, 32), crop_fraction=0.9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve photos of odd sizes, one of them greyscale, and one file that is none."""
    rng = np.random.default_rng(0)
    for index in range(12):
        shape = (17 + 3 * index, 41 - index) if index == 3 else (17 + 3 * index, 41 - index, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{index:02}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def test_photos_are_prepared_as_evaluation_prepares_them(folder: Path) -> None:
    found = load_calibration(folder, RECIPE, 50)
    expected = {RECIPE.pixels(load_image(path)).tobytes() for path in folder.glob("[01]*.png")}
    assert {image.tobytes() for image in found.pixels} == expected
    (whole,) = found.batches(12)
    np.testing.assert_array_equal(whole, RECIPE.normalize(found.pixels))


def test_the_choice_is_seeded_and_not_the_first_ones(folder: Path) -> None:
    first, second = load_calibration(folder, RECIPE, 5), load_calibration(folder, RECIPE, 5)
    assert first.record == second.record
    leading = [RECIPE.pixels(load_image(folder / f"{index:02}.png")) for index in range(5)]
    assert {image.tobytes() for image in first.pixels} != {image.tobytes() for image in leading}


def test_unreadable_photos_are_named_and_replaced(folder: Path) -> None:
    found = load_calibration(folder, RECIPE, 12)
    assert len(found.pixels) == found.record.images == 12
    assert found.record.unreadable in {("broken.png",), ()}  # chosen last, it is never looked at
    assert load_calibration(folder, RECIPE, 50).record.unreadable == ("broken.png",)


def test_a_short_batch_is_filled_up_with_other_photos(folder: Path) -> None:
    found = load_calibration(folder, RECIPE, 5)
    batches = list(found.pixel_batches(4))
    assert [len(batch) for batch in batches] == [4, 4]
    np.testing.assert_array_equal(np.concatenate(batches), found.pixels[[0, 1, 2, 3, 4, 0, 1, 2]])


@pytest.mark.parametrize("size", [0, -1, 10**6])
def test_sizes_out_of_range_are_refused(folder: Path, size: int) -> None:
    with pytest.raises(UsageError, match="5000 photos"):
        load_calibration(folder, RECIPE, size)


def test_a_folder_without_readable_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(BadInputError, match="None of the 1 photos"):
        load_calibration(tmp_path, RECIPE)


@pytest.mark.parametrize(
    ("readable", "size", "used", "held_out"),
    [
        (1000, 200, 200, 100),
        (300, 200, 200, 100),
        (270, 200, 200, 70),
        (200, 200, 150, 50),
        (100, 200, 50, 50),
        (60, 200, 30, 30),
        (60, 8, 8, 52),
        (20, 200, 10, 10),
        (19, 200, 19, 0),
        (19, 8, 8, 0),
    ],
)
def test_how_a_folder_is_split(readable: int, size: int, used: int, held_out: int) -> None:
    assert held_out_of(readable, size) == held_out
    assert min(size, readable - held_out) == used


@pytest.mark.parametrize(("size", "used", "held_out"), [(8, 8, 22), (200, 15, 15)])
def test_photos_held_out_are_others_and_always_the_same(tmp_path: Path, size: int, used: int, held_out: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(30):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / f"{index:02}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    found = load_calibration(tmp_path, RECIPE, size)
    assert (len(found.pixels), len(found.held_out)) == (used, held_out)
    assert (found.record.images, found.record.held_out) == (used, held_out)
    measured = {image.tobytes() for image in found.pixels}
    assert not measured & {image.tobytes() for image in found.held_out.values()}
    for name, pixels in found.held_out.items():
        np.testing.assert_array_equal(pixels, RECIPE.pixels(load_image(tmp_path / name)))
    assert list(load_calibration(tmp_path, RECIPE, size).held_out) == list(found.held_out)


def test_every_photo_is_a_part_of_the_progress(folder: Path) -> None:
    done: dict[str, list[int]] = {}

    @contextmanager
    def progress(step: str, parts: int = 0, /) -> Iterator[Callable[[], None]]:
        done[step] = [0, parts]

        def advance() -> None:
            done[step][0] += 1

        yield advance

    found = load_calibration(folder, RECIPE, 5, progress)
    assert [len(batch) for batch in found.watched(found.batches(2), 2)] == [2, 2, 2]
    assert done == {"Loading the calibration photos": [12, 13], MEASURING: [3, 3]}  # one cannot be read
