"""Input sizes as people write them, on the command line, in a plan and in Python."""

from __future__ import annotations

from mobilevit_tools.data.preprocessing import MAX_SIDE
from mobilevit_tools.errors import UsageError

Size = int | str | tuple[int, int]
"""An input size in Python: ``224``, ``"192x256"`` or ``(192, 256)``."""


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read ``224`` or ``192x256`` as height and width.

    Raises:
        UsageError: It is neither, or out of range.
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 0 < int(side) <= MAX_SIDE for side in sides):
        raise UsageError(f"{text!r} is not an input size.", hint="For example 224, or 192x256 for height x width.")
    return int(sides[0]), int(sides[-1])


def as_size(given: Size | None) -> tuple[int, int] | None:
    """Return height and width of an input size as it may be given in Python.

    Raises:
        UsageError: It is none, or out of range.
    """
    if given is None:
        return None
    return parse_size("x".join(map(str, given)) if isinstance(given, list | tuple) else str(given))


def size_text(size: tuple[int, int] | None) -> str | None:
    """Write height and width such that :func:`parse_size` reads the same."""
    return None if size is None else f"{size[0]}x{size[1]}"
