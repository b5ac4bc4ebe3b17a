"""Input sizes as people write them, on the command line and in a plan."""

from __future__ import annotations

from mobilevit_tools.data.preprocessing import MAX_SIDE
from mobilevit_tools.errors import UsageError


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
