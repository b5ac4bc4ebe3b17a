"""Results as JSON values, and the envelope that every verb's ``--json`` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import PurePath

from mobilevit_tools.errors import MvtError

SCHEMA = 1
"""The version of the envelope."""

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True)
class StatedError:
    """The error in an envelope: its code, what happened in a sentence, and what to do next."""

    code: str
    message: str
    hint: str | None = None


def jsonable(value: object) -> JsonValue:
    """Convert dataclasses, paths, enums and collections to JSON values; numbers that JSON lacks become null.

    Raises:
        TypeError: The value holds something that has no JSON form.
    """
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str | PurePath):
        return str(value) if isinstance(value, PurePath) else value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def envelope(command: str, result: object, error: MvtError | None = None) -> JsonValue:
    """Return what a command ended with: ``result``, or ``error`` with what was found before it, if anything."""
    body: dict[str, object] = {"schema": SCHEMA, "command": command, "status": "ok" if error is None else "error"}
    if error is not None:
        body["error"] = StatedError(error.error_code, error.message, error.hint)
    if error is None or result is not None:
        body["result"] = result
    return jsonable(body)
