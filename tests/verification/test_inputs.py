"""The inputs of a verification are bounded, whatever folder they are taken from."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.verification.inputs import MAX_PHOTOS, build_inputs


@pytest.mark.parametrize("count", [0, 1, MAX_PHOTOS, MAX_PHOTOS + 1, 3 * MAX_PHOTOS])
def test_photos_are_taken_evenly_up_to_a_bound(tmp_path: Path, count: int) -> None:
    paths = [tmp_path / f"{index:04}.png" for index in range(count)]
    for path in paths:
        Image.new("RGB", (4, 4)).save(path)
    found = [item.name for item in build_inputs(Preprocessing((4, 4)), paths) if item.kind == "photo"]
    every = max(1, count // MAX_PHOTOS)
    assert found == [path.name for path in paths[::every]][:MAX_PHOTOS]


def test_photos_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    names = ["a/0.png", "b/0.png", "b/1.png", "c/x/2.png", "d/x/2.png"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    found = [item.name for item in build_inputs(Preprocessing((4, 4)), paths) if item.kind == "photo"]
    assert found == ["a/0.png", "b/0.png", "1.png", "c/x/2.png", "d/x/2.png"]
