"""Folders that are no labels are read in every way that a framework reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from mobilevit_tools.data.class_order import ClassOrder, parse_class_order, reading_of, readings
from mobilevit_tools.errors import BadInputError, UsageError


def read(folders: Sequence[str], num_classes: int) -> dict[ClassOrder, Mapping[str, int]]:
    return {each.order: each.classes for each in readings(sorted(folders), num_classes)}


def test_a_dozen_numbers_are_indices_or_torchvisions_order() -> None:
    found = read([str(index) for index in range(12)], 12)
    assert list(found) == ["index", "text"]  # timm's order is that of the indices
    assert found["index"]["10"] == 10
    assert [found["text"][name] for name in ("0", "1", "10", "11", "2", "9")] == [0, 1, 2, 3, 4, 11]


def test_some_of_many_numbers_have_the_place_that_they_have_among_all() -> None:
    found = read(["3", "10"], 12)
    assert found["text"] == {"3": 5, "10": 2}


@pytest.mark.parametrize(
    "folders",
    [[str(index) for index in range(10)], [f"{index:02}" for index in range(12)], ["0", "1"]],
    ids=["ten", "padded", "equal"],
)
def test_where_all_ways_agree_there_is_one_reading(folders: list[str]) -> None:
    assert list(read(folders, len(folders))) == ["index"]


def test_names_with_numbers_are_sorted_in_two_ways() -> None:
    found = read([f"class_{index}" for index in range(1, 13)], 12)
    assert list(found) == ["text", "natural"]
    assert (found["text"]["class_2"], found["natural"]["class_2"]) == (4, 1)
    assert list(read(["Zebra", "ant"], 2)) == ["text", "natural"]  # timm sorts in lower case
    assert list(read(["ant", "bee"], 2)) == ["text"]


def test_numbers_from_one_on_are_no_indices() -> None:
    assert list(read([str(index) for index in range(1, 13)], 12)) == ["text", "natural"]


def test_folders_that_are_one_class_as_indices_are_nothing_else() -> None:
    assert list(read(["1", "01", "10"], 11)) == ["index"]


def test_folders_that_are_neither_have_no_reading() -> None:
    assert read(["x", "y"], 3) == {}
    assert read(["0", "12"], 12) == {}


def test_an_order_that_is_asked_for_is_taken_or_refused() -> None:
    assert reading_of("text", ["10", "2"], 2).classes == {"10": 0, "2": 1}
    assert reading_of("natural", ["10", "2"], 2).classes == {"2": 0, "10": 1}
    with pytest.raises(BadInputError, match="'index' needs names that are class indices"):
        reading_of("index", ["10", "2"], 2)
    with pytest.raises(BadInputError, match="'text' needs a folder for each of 3 classes"):
        reading_of("text", ["x", "y"], 3)
    with pytest.raises(UsageError, match="no class order 'torchvision'"):
        parse_class_order("torchvision")
