"""What paths have in common, which tells nobody anything where they are to be told apart."""

from __future__ import annotations

from collections.abc import Sequence


def shared_parts(paths: Sequence[Sequence[str]]) -> int:
    """Return how many parts all begin with."""
    count = 0
    while all(count < len(each) for each in paths) and len({each[count] for each in paths}) == 1:
        count += 1
    return count
