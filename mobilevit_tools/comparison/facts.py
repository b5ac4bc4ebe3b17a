"""What two manifests say differently, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.jsonable import JsonValue, jsonable

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "model": "model",
        "export": "spec",
        "contract": "contract",
        "parity": "parity",
        "rewrites": "rewrites",
        "quantization": "quantization",
        "quantized": "quantized",
        "kept in float32": "fp16_keep",
        "delegation": "delegation",
        "tools": "tools",
    }
)
"""Section names for people, and the manifest's fields behind them."""

_NAMED_BY = "name"
_SUMMARY = "summary"
"""Says the name again, in a sentence."""

_LEFT_OUT = {"parity": ("results",), "delegation": ("pieces",)}


@dataclass(frozen=True)
class Change:
    """A field with another value on each side; None where one side does not have it."""

    field: str
    a: JsonValue
    b: JsonValue


def diff_manifests(a: Manifest, b: Manifest) -> dict[str, tuple[Change, ...]]:
    """Return the fields that differ, by section; sections without a difference are left out."""
    found = {}
    for title, field in SECTIONS.items():
        one, other = (dict(_flat(_section(manifest, field))) for manifest in (a, b))
        changes = tuple(
            Change(name, one.get(name), other.get(name))
            for name in dict.fromkeys((*one, *other))
            if _known(one.get(name)) != _known(other.get(name))
        )
        if changes:
            found[title] = changes
    return found


def _known(value: JsonValue) -> JsonValue:
    """Return a value; an empty list says no more than a field that is not there."""
    return None if value in ([], {}) else value


def _section(manifest: Manifest, field: str) -> JsonValue:
    value = jsonable(getattr(manifest, field))
    if isinstance(value, dict):
        return {name: entry for name, entry in value.items() if name not in _LEFT_OUT.get(field, ())}
    return value


def _flat(value: JsonValue, path: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Yield leaves with dotted names; entries that have a name go by it, lists of plain values are leaves."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _flat(entry, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        for number, entry in enumerate(value):
            fields = dict(entry) if isinstance(entry, dict) else {}
            named = fields.pop(_NAMED_BY, number)
            fields.pop(_SUMMARY, None)
            yield from _flat(fields, f"{path}.{named}" if path else str(named))
    else:
        yield path, value
