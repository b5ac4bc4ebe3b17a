from __future__ import annotations

import pytest

from mobilevit_tools.paths import shared_parts


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
