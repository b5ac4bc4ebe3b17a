"""The generated pages are what the code says today."""

from __future__ import annotations

import pytest

from tools.generate_reference import GENERATED, PAGES, REFERENCE, used_rooms


@pytest.mark.parametrize("name", PAGES)
def test_page_is_not_stale(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == GENERATED + PAGES[name](), "run: python tools/generate_reference.py"


def test_arrows_point_one_way() -> None:
    uses = used_rooms()
    assert not [room for room, used in uses.items() if room not in {"cli", "api"} and used & {"cli", "api"}]
    assert "exporters" not in uses["runtimes"]
    left = dict(uses)
    while free := [room for room, used in left.items() if not used & left.keys()]:
        for room in free:
            del left[room]
    assert not left, "these use each other in a circle"
