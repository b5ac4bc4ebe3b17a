"""Every result is a short table, whatever it holds, and tells the same as its command's ``--json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.result import MOST_COLUMNS, MOST_ROWS, WIDEST, Result, Shown
from mobilevit_tools.sweeping.table import Row


@dataclass(frozen=True)
class Item:
    name: str
    size: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Silent:
    source: str = ""


@dataclass(frozen=True, repr=False)
class Found(Result, command="find"):
    path: Path
    count: int
    share: float
    nothing: str | None
    empty: tuple[str, ...]
    first: Item
    items: tuple[Item, ...]
    numbers: tuple[float, ...]
    by_name: dict[str, int]
    silent: Silent = Silent()
    text: str = "<b>&"


FOUND = Found(
    path=Path("/" + "x" * 80 + "/model.onnx"),
    count=1234567,
    share=0.123456,
    nothing=None,
    empty=(),
    first=Item("a", 1),
    items=tuple(Item(f"n{index}", 1000 * index) for index in range(25)),
    numbers=tuple(map(float, range(700))),
    by_name={"Conv": 3, "Relu": 2},
)


def test_the_table_is_short_and_says_what_was_left_out() -> None:
    lines = repr(FOUND).splitlines()
    assert lines[0] == "Found"
    said = dict(
        line.split(maxsplit=1)
        for line in lines
        if line.startswith("  ") and not line.startswith("   ") and len(line.split()) > 1
    )
    assert said["path"].endswith("x/model.onnx")
    assert said["path"].startswith("…")
    assert len(said["path"]) == WIDEST
    assert said["count"] == "1,234,567"
    assert said["share"] == "0.1235"
    assert said["first"] == "name a, size 1"
    assert said["numbers"] == "0, 1, 2, 3, 4, 5 and 694 more"
    assert said["by_name"] == "Conv 3, Relu 2"
    assert not {"nothing", "empty", "silent"} & said.keys()
    start = lines.index("  items")
    assert lines[start + 1].split() == ["name", "size"]
    assert lines[start + 3].split() == ["n1", "1,000"]
    assert lines[start + 2 + MOST_ROWS].strip() == "and 5 more"


class Balanced(HTMLParser):
    """Collects text, and fails where a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_notebook_shows_the_same_and_nothing_is_markup() -> None:
    page = Balanced()
    page.feed(FOUND._repr_html_())
    assert page.open == []
    assert {"Found", "count", "1,234,567", "<b>&", "n19", "and 5 more"} <= set(page.text)
    assert "n20" not in page.text


def test_json_is_what_the_command_prints() -> None:
    told = json.loads(FOUND.to_json())
    assert (told["command"], told["status"], told["schema"]) == ("find", "ok", 1)
    assert told["result"]["items"][2] == {"name": "n2", "size": 2000, "notes": []}


def test_an_empty_result_has_its_name_alone() -> None:
    @dataclass(frozen=True, repr=False)
    class Nothing(Shown):
        items: tuple[Item, ...] = ()

    assert repr(Nothing()) == "Nothing"


@pytest.mark.parametrize("name", [each for each in mobilevit_tools.__all__ if each.endswith(("Result", "Bench"))])
def test_public_results_show_themselves(name: str) -> None:
    result = getattr(mobilevit_tools, name)
    assert issubclass(result, Shown)
    assert result.__repr__ is Shown.__repr__


def test_a_table_has_the_columns_that_tell_most() -> None:
    @dataclass(frozen=True, repr=False)
    class Cell(Shown):
        telling = ("name", "figure", "remark")

        target: str
        name: str
        figure: float
        remark: str | None = None

    @dataclass(frozen=True, repr=False)
    class Swept(Result, command="find"):
        rows: tuple[Cell, ...]

    shown = repr(Swept((Cell("onnx", "a", 0.5), Cell("onnx", "b", 1.5)))).splitlines()
    assert [line.split() for line in shown[2:]] == [["name", "figure"], ["a", "0.5"], ["b", "1.5"]]


def test_a_sweeps_rows_show_their_figures() -> None:
    known = {field.name for field in fields(Row)}
    assert set(Row.telling) <= known
    assert {"params", "macs", "p50_ms", "status"} <= set(Row.telling[:MOST_COLUMNS])
