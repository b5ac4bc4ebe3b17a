from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.paths import hint_for_missing, shared_parts


@pytest.mark.parametrize(
    ("paths", "count"),
    [
        (["abc", "abd"], 2),
        (["abc", "abc"], 3),
        (["ab", "abc", "a"], 1),
        (["abc", "xbc"], 0),
        (["abc", ""], 0),
    ],
)
def test_the_shortest_path_bounds_what_is_shared(paths: list[str], count: int) -> None:
    assert shared_parts([tuple(path) for path in paths]) == count


def test_a_missing_file_is_named_by_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "model_best.pth.tar").touch()
    assert hint_for_missing(tmp_path / "model_best.pth") == f"Did you mean {tmp_path / 'model_best.pth.tar'}?"
    assert hint_for_missing(tmp_path / "photo.jpg") == f"Check the path; the folder is {tmp_path}."
    assert hint_for_missing(tmp_path / "no" / "photo.jpg") == f"There is no folder {tmp_path / 'no'}."
