"""What every call returns shows itself: a short table, as text and in a notebook, whatever the result holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from html import escape
from pathlib import PurePath
from typing import ClassVar, TypeGuard

from mobilevit_tools.jsonable import envelope

MOST_ROWS = 20
MOST_COLUMNS = 8
MOST_ENTRIES = 6
WIDEST = 60
WIDEST_CELL = 40


class Shown:
    """Something that a call returns, with a table in place of the one long line that a dataclass shows.

    Attributes:
        telling: The fields that a table of several of these has as columns; empty takes the first ones.
    """

    telling: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        """Return the table as text."""
        return "\n".join(_as_text(self))

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        return _as_html(self)


class Result(Shown):
    """What a verb returns.

    Attributes:
        command: The command that prints the same.
    """

    command: ClassVar[str]

    def __init_subclass__(cls, *, command: str) -> None:
        super().__init_subclass__()
        cls.command = command

    def to_json(self) -> str:
        """Return what the command prints with ``--json``, such as for ``mvt report``, or to compare with later."""
        return json.dumps(envelope(self.command, self), allow_nan=False)


@dataclass(frozen=True)
class _Grid:
    """Several things of one kind, one a row; as much of them as fits."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


def _lines(value: object) -> Iterator[tuple[str, str | _Grid]]:
    """Yield each field that says something, by name."""
    for name, each in _fields(value):
        if _is_empty(each):
            continue
        if _is_sequence(each) and all(is_dataclass(item) for item in each):
            yield name, _grid(each)
        elif said := _words(each):
            yield name, said


def _grid(items: Sequence[object]) -> _Grid:
    shown = [dict(_fields(item)) for item in items[:MOST_ROWS]]
    asked = getattr(items[0], "telling", ()) or tuple(shown[0])
    names = [name for name in asked if _is_told(name, shown)][:MOST_COLUMNS]
    rows = tuple(tuple(_cell(row.get(name)) for name in names) for row in shown)
    return _Grid(tuple(names), rows, len(items) - len(shown))


def _is_told(name: str, rows: Sequence[Mapping[str, object]]) -> bool:
    values = (row.get(name) for row in rows)
    return any(not _is_empty(each) and not _is_many(each) for each in values)


def _cell(value: object) -> str:
    """Say a value in a word: of something larger, the first thing that it says of itself."""
    while is_dataclass(value):
        named = getattr(value, "name", None)
        value = named if isinstance(named, str) else next((each for _, each in _fields(value)), None)
    said = "" if _is_empty(value) else _words(value)
    return said if isinstance(value, PurePath) or len(said) <= WIDEST_CELL else f"{said[: WIDEST_CELL - 1]}…"


def _words(value: object) -> str:
    """Say a value in a few words."""
    if is_dataclass(value):
        said = [(name, each) for name, each in _fields(value) if not _is_empty(each) and not _is_many(each)]
        return _listed([f"{name} {_cell(each)}" for name, each in said], len(said))
    if isinstance(value, Mapping):
        pairs = [f"{key} {_counted(each)}" for key, each in list(value.items())[:MOST_ENTRIES]]
        return _listed(pairs, len(value))
    if _is_sequence(value):
        return _listed([_counted(each) for each in value[:MOST_ENTRIES]], len(value))
    return _word(value)


def _word(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = " ".join(str(value).split())
    if len(text) <= WIDEST:
        return text
    # The end of a path tells more than its beginning.
    return f"…{text[1 - WIDEST :]}" if isinstance(value, PurePath) else f"{text[: WIDEST - 1]}…"


def _counted(value: object) -> str:
    return str(len(value)) if isinstance(value, Sequence | Mapping) and not isinstance(value, str) else _cell(value)


def _listed(shown: Sequence[str], count: int) -> str:
    more = count - min(len(shown), MOST_ENTRIES)
    return ", ".join(shown[:MOST_ENTRIES]) + (f" and {more:,} more" if more > 0 else "")


def _fields(value: object) -> Iterator[tuple[str, object]]:
    return ((field.name, getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _is_many(value: object) -> bool:
    if _is_sequence(value):
        return len(value) > MOST_ENTRIES or any(is_dataclass(each) or _is_many(each) for each in value)
    return isinstance(value, Mapping)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def _as_text(value: object) -> Iterator[str]:
    yield type(value).__name__
    lines = list(_lines(value))
    width = max((len(name) for name, _ in lines), default=0)
    for name, said in lines:
        if isinstance(said, str):
            yield f"  {name:{width}}  {said}"
            continue
        yield f"  {name}"
        columns = [max(map(len, column)) for column in zip(said.headings, *said.rows, strict=True)]
        for row in (said.headings, *said.rows):
            yield "    " + "  ".join(f"{cell:{wide}}" for cell, wide in zip(row, columns, strict=True)).rstrip()
        if said.left_out:
            yield f"    and {said.left_out:,} more"


def _as_html(value: object) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{_html_of(said)}</td></tr>" for name, said in _lines(value))
    return f"<table><caption>{escape(type(value).__name__)}</caption><tbody>{rows}</tbody></table>"


def _html_of(said: str | _Grid) -> str:
    if isinstance(said, str):
        return escape(said)
    head = "".join(f"<th>{escape(name)}</th>" for name in said.headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in said.rows)
    more = f"<caption>and {said.left_out:,} more</caption>" if said.left_out else ""
    return f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
