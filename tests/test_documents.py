from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mobilevit_tools.documents import DocumentKind, clean, parse, parse_lines, printable, read_document, typed
from mobilevit_tools.errors import BadInputError


@pytest.mark.parametrize("bad", ["\0", "\x1b", "\ud800", "\u202e", "\u2066", "\x7f", "\x85", "\uffff", "\r"])
def test_what_a_page_cannot_hold_is_replaced(bad: str) -> None:
    assert printable(f"a{bad}b") == "a\ufffdb"


@pytest.mark.parametrize("good", ["<b>", "é", "日本", "🐕", "a\tb\nc", "$x$"])
def test_all_other_text_is_left_alone(good: str) -> None:
    assert printable(good) == good


def test_text_is_cleaned_wherever_it_is() -> None:
    assert clean(parse('{"\\u0000": ["\\ud800", {"x": "\\u202e"}]}', "x")) == {"�": ["�", {"x": "�"}]}


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "1e999", "-1e999", str(1 << 63), "[" * 100_000])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"^x is "):
        parse(text, "x")


def test_the_last_line_may_have_been_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"a": 1}\n\n[2]\n{"a": "\xc3')
    assert list(parse_lines(path)) == [(f"{path}:1", {"a": 1}), (f"{path}:3", [2])]
    for damaged in (b'{"a":\n[2]\n', b'"\xff"\n[2]\n'):
        path.write_bytes(damaged)
        with pytest.raises(BadInputError, match="x:1 is not JSON"):
            list(parse_lines(path))


SMALL = DocumentKind("a note", "bad_note", missing="no_note", hint="Write one.", max_bytes=4)


def test_lines_are_bounded_each_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("[1]\n[2]\n[345]\n")
    lines = parse_lines(path, SMALL)
    assert [next(lines), next(lines)] == [(f"{path}:1", [1]), (f"{path}:2", [2])]
    with pytest.raises(BadInputError, match="x:3 is too large"):
        next(lines)
    with pytest.raises(BadInputError, match="cannot be read"):
        next(parse_lines(tmp_path))


def test_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("12345")
    assert read_document(path) == 12345
    for missing in (tmp_path, tmp_path / ("n" * 5000)):
        with pytest.raises(BadInputError, match="cannot be read") as refused:
            read_document(missing, replace(SMALL, max_bytes=1 << 20))
        assert (refused.value.error_code, refused.value.hint) == ("no_note", "Write one.")
    with pytest.raises(BadInputError, match="too large for a note: over 4 bytes") as refused:
        read_document(path, SMALL)
    assert refused.value.error_code == "bad_note"


@dataclass(frozen=True)
class Pair:
    first: int
    second: str


def test_types_are_checked_and_more_is_ignored() -> None:
    assert typed(Pair, {"first": 1, "second": "x", "third": []}, "x") == Pair(1, "x")
    with pytest.raises(BadInputError, match="x is not a result of mvt: second"):
        typed(Pair, {"first": 1, "second": 2}, "x")
    with pytest.raises(BadInputError, match="first"):
        typed(Pair, {"second": "x"}, "x")


@dataclass(frozen=True)
class Triple:
    first: int
    second: str
    third: float


def test_of_several_kinds_it_is_the_one_that_has_all_its_fields() -> None:
    for raw, kind in (({"first": 1, "second": "x"}, Pair), ({"first": 1, "second": "x", "third": 2}, Triple)):
        found: Pair | Triple = typed(Pair | Triple, raw, "x")
        assert type(found) is kind
