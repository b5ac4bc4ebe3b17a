"""JSON documents on the reference pages: a table of fields for people, and the schema for tools."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import TypeAdapter

HEADING = ("| field | type | meaning |", "|---|---|---|")
_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")


def schema(described: Any) -> str:
    """Return the JSON schema of a dataclass."""
    return json.dumps(TypeAdapter(described).json_schema(), indent=2, sort_keys=True) + "\n"


def records(described: Any) -> set[str]:
    """Return the names of the records that a dataclass holds, itself included."""
    found = TypeAdapter(described).json_schema()
    return {found["title"], *found.get("$defs", {})}


def table(described: Any, *, without: Collection[str] = ()) -> str:
    """Return the fields of a dataclass and of the records in it, record by record.

    Args:
        described: The dataclass.
        without: Records that are on another page.
    """
    whole = TypeAdapter(described).json_schema()
    inside = {name: found for name, found in whole.get("$defs", {}).items() if name not in without}
    rows = [row for name, found in {whole["title"]: whole, **inside}.items() for row in _rows(name, found)]
    return "\n".join([*HEADING, *rows])


def _rows(name: str, record: Mapping[str, Any]) -> list[str]:
    text = record.get("description", "")
    meanings = {match[1]: _line(match[2]) for match in _ATTRIBUTE.finditer(text.partition("Attributes:")[2])}
    fields = [
        f"| `{field}` | {_kind(value)} | {meanings.get(field, '')} |" for field, value in record["properties"].items()
    ]
    return [f"| **{name}** | | {_line(text.partition(chr(10) * 2)[0])} |", *fields]


def _kind(value: Mapping[str, Any]) -> str:
    """Return a type in words: ``list of number``, ``Drift or null``."""
    if "$ref" in value:
        return str(value["$ref"].rpartition("/")[2])
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(each) for each in value["anyOf"]))
    if "const" in value or "enum" in value:
        return ", ".join(f"`{each}`" for each in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        kinds = [_kind(each) for each in value.get("prefixItems", [value.get("items", {})])]
        return f"list of {' and '.join(dict.fromkeys(kinds))}"
    if value.get("type") == "object":
        held = value.get("additionalProperties")
        return f"object of {_kind(held)}" if isinstance(held, dict) else "object"
    return str(value.get("type", "any value"))


def _line(text: str) -> str:
    text = _ROLE.sub(r"`\1`", text).replace("``", "`")
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()
