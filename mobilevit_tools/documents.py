"""JSON documents from anyone: bounded, finite, and free of characters that would break or disguise a page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from mobilevit_tools.errors import BadInputError, MvtError

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
MAX_INTEGER = 1 << 63

_Value = TypeVar("_Value")
# Controls, lone surrogates, and the marks that reverse the direction of the text around them.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def printable(text: str) -> str:
    """Replace characters that a page cannot hold, or that make text look like other text."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        BadInputError: It is missing, too large or not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise BadInputError(f"{path} is too large: over {MAX_DOCUMENT_BYTES >> 20} MiB.", code="bad_run")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is not a text file.", code="bad_run") from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(f"{path} cannot be read: {error.strerror}.", code="no_such_run")


def parse(text: str | bytes, source: str) -> object:
    """Parse one JSON document.

    Raises:
        BadInputError: It is not JSON, nested too deeply, or holds a number that is not finite or has no use.
    """
    try:
        return _clean(json.loads(text))
    except RecursionError as error:
        raise BadInputError(f"{source} is nested too deeply.", code="bad_run") from error
    except ValueError as error:
        raise BadInputError(f"{source} is not JSON: {error}.", code="bad_run") from error


def parse_lines(path: Path) -> Iterator[tuple[str, object]]:
    """Parse a file of JSON lines, each for itself; yield each with its name.

    A last line that was cut off while it was written is left out.

    Raises:
        BadInputError: The file is missing, a line is too large, or another than the last one is not JSON.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_DOCUMENT_BYTES + 1), b""), start=1):
                source = f"{path}:{number}"
                if len(line) > MAX_DOCUMENT_BYTES:
                    raise BadInputError(f"{source} is too large: over {MAX_DOCUMENT_BYTES >> 20} MiB.", code="bad_run")
                if not line.strip():
                    continue
                try:
                    yield source, parse(line, source)
                except BadInputError:
                    if line.endswith(b"\n"):
                        raise
    except OSError as error:
        raise _unreadable(path, error) from error


def typed(kind: type[_Value], raw: object, source: str) -> _Value:
    """Read a JSON value as a dataclass; what else it holds is ignored.

    Raises:
        BadInputError: A field is missing or of another type.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise BadInputError(f"{source} is not a result of mvt: {where}: {first['msg']}.", code="bad_run") from error
    except MvtError as error:  # what it holds contradicts itself
        raise BadInputError(f"{source} is not a result of mvt: {error.message}", code="bad_run") from error


def _clean(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number in it is not finite")
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise ValueError("a number in it is too large")
    return value
