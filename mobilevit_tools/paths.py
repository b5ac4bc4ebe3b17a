"""What paths have in common, and which one was meant where there is nothing at a path."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

MAX_NEIGHBOURS = 10_000
"""A folder with more is not searched for a name that may have been meant."""


def shared_parts(paths: Sequence[Sequence[str]]) -> int:
    """Return how many parts all begin with."""
    count = 0
    while all(count < len(each) for each in paths) and len({each[count] for each in paths}) == 1:
        count += 1
    return count


def hint_for_missing(path: Path) -> str:
    """Return what to do where there is nothing at ``path``: the nearest name beside it, or where it was looked for."""
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {folder}."
    try:
        names = [each.name for each, _ in zip(folder.iterdir(), range(MAX_NEIGHBOURS), strict=False)]
    except OSError:
        names = []
    others = [name for name in names if name != path.name]  # a broken link has the name itself
    near = get_close_matches(path.name, others, n=1, cutoff=0.7)
    return f"Did you mean {folder / near[0]}?" if near else f"Check the path; the folder is {folder.absolute()}."
