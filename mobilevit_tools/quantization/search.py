"""The smallest set of operators to keep in higher precision, in the order of the error that they cause."""

from __future__ import annotations

from collections.abc import Callable


def smallest_prefix(count: int, accepts: Callable[[int], bool]) -> int:
    """Return the least n for which ``accepts(n)``, from 0 to ``count``, where ``accepts(count)`` holds.

    The first n of a ranking are tried as 0, 1, 2, 4, 8, ...; then the last gap is halved. That is exact where keeping
    more operators never makes things worse, and close to it where chance decides between neighbours. ``count`` itself
    is not tried.
    """
    low, high = -1, 0
    while high < count and not accepts(high):
        low, high = high, max(1, 2 * high)
    high = min(high, count)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if accepts(middle) else (middle, high)
    return high
