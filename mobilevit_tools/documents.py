"""JSON documents from anyone: one reader, which bounds them, checks their types, and says whose they are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mobilevit_tools.errors import BadInputError, MvtError

if TYPE_CHECKING:
    from types import UnionType

    from pydantic import TypeAdapter

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
MAX_INTEGER = 1 << 63

_Value = TypeVar("_Value")
# Controls, lone surrogates, and the marks that reverse the direction of the text around them.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


@dataclass(frozen=True)
class DocumentKind:
    """A kind of document, as errors name it.

    Attributes:
        name: What it is, such as ``a manifest``.
        code: The error's code where a document is none of these.
        hint: What to do about one that is missing or none of these.
        missing: The code where there is no such file or it cannot be opened; None for ``code``.
        max_bytes: The largest that is read.
    """

    name: str
    code: str
    hint: str
    missing: str | None = None
    max_bytes: int = MAX_DOCUMENT_BYTES

    def error(self, message: str) -> BadInputError:
        """Return the error that a document is none of these."""
        return BadInputError(message, hint=self.hint, code=self.code)


RUN = DocumentKind(
    "a result of mvt",
    "bad_run",
    "Give a file that a command of mvt wrote with --json, such as: mvt profile ARTIFACT --json > run.json",
    missing="no_such_run",
)
"""What a command printed with ``--json``."""


def printable(text: str) -> str:
    """Replace characters that a page cannot hold, or that make text look like other text."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def clean(value: object) -> object:
    """Make every text of a JSON value :func:`printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): clean(entry) for key, entry in value.items()}
    return [clean(entry) for entry in value] if isinstance(value, list) else value


def read_document(path: Path, kind: DocumentKind = RUN) -> object:
    """Read a file that holds one JSON document.

    Raises:
        BadInputError: It is missing, too large, or no JSON.
    """
    try:
        if path.stat().st_size > kind.max_bytes:
            raise kind.error(f"{path} is too large for {kind.name}: over {_sized(kind.max_bytes)}.")
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error, kind) from error
    return parse(content, str(path), kind)


def parse(content: str | bytes, source: str, kind: DocumentKind = RUN) -> object:
    """Parse one JSON document.

    Args:
        content: The document.
        source: Where it comes from, for the message.
        kind: What it is to be.

    Raises:
        BadInputError: It is too large, not JSON, nested too deeply, or holds a number that is not finite or beyond
            all use.
    """
    if len(content) > kind.max_bytes:
        raise kind.error(f"{source} is too large for {kind.name}: over {_sized(kind.max_bytes)}.")
    try:
        return json.loads(content, parse_constant=_finite, parse_float=_finite, parse_int=_counted)
    except RecursionError as error:
        raise kind.error(f"{source} is nested too deeply.") from error
    except ValueError as error:
        raise kind.error(f"{source} is not JSON: {error}.") from error


def parse_lines(path: Path, kind: DocumentKind = RUN) -> Iterator[tuple[str, object]]:
    """Parse a file of JSON lines, each for itself; yield each with its name.

    A last line that was cut off while it was written is left out.

    Raises:
        BadInputError: The file is missing, a line is too large, or another than the last one is not JSON.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(kind.max_bytes + 1), b""), start=1):
                source = f"{path}:{number}"
                if not line.strip():
                    continue
                try:
                    yield source, parse(line, source, kind)
                except BadInputError:
                    if line.endswith(b"\n") or len(line) > kind.max_bytes:
                        raise
    except OSError as error:
        raise _unreadable(path, error, kind) from error


def typed(kind: type[_Value] | UnionType, raw: object, source: str, of: DocumentKind = RUN) -> _Value:
    """Read a JSON value as a dataclass; what else it holds is ignored.

    Args:
        kind: The dataclass, or a union of some.
        raw: The JSON value.
        source: Where it comes from, for the message.
        of: What it is to be.

    Raises:
        BadInputError: A field is missing or of another type, or what it holds contradicts itself.
    """
    from pydantic import ValidationError

    try:
        value: _Value = _reader(cast("type", kind)).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise of.error(f"{source} is not {of.name}: {where}: {first['msg']}.") from error
    except MvtError as error:
        raise of.error(f"{source} is not {of.name}: {error.message}") from error
    return value


@cache
def _reader(kind: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _unreadable(path: Path, error: OSError, kind: DocumentKind) -> BadInputError:
    return BadInputError(f"{path} cannot be read: {error.strerror}.", hint=kind.hint, code=kind.missing or kind.code)


def _finite(text: str) -> float:
    """Read a number; one that is none, or overflows, would compare as no worse than anything."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _counted(text: str) -> int:
    number = int(text)
    if abs(number) >= MAX_INTEGER:
        raise ValueError("a number in it is too large")
    return number


def _sized(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"
