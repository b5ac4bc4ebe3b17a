"""How long work tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Advance = Callable[[], None]
"""To be called after each part of a step."""

_Item = TypeVar("_Item")

LEAST_PARTS = 3
"""Before so many parts of a step are done, nothing is said of the time that is left: the first are rarely typical."""


class Progress(Protocol):
    """Takes the name of a step, and how many parts it has where they are known and alike; the step runs in the context.

    The context gives a function to call after each part.
    """

    def __call__(self, step: str, parts: int = 0, /) -> AbstractContextManager[Advance]:
        """Tell of a step while the context is open."""


def silent(step: str, parts: int = 0, /) -> AbstractContextManager[Advance]:
    """Tell nothing of ``step`` and its ``parts``."""
    del step, parts
    return nullcontext(_nothing)


def _nothing() -> None: ...


def counted(progress: Progress, step: str, items: Iterable[_Item], parts: int) -> Iterator[_Item]:
    """Yield ``items``, of which there are ``parts``, as parts of a step, each done when the next is asked for."""
    with progress(step, parts) as advance:
        for item in items:
            yield item
            advance()


def numbered(progress: Progress, number: int, of: int) -> Progress:
    """Return a progress that says of every step to which of several things it belongs.

    Nothing is said of the time that the others take: targets differ by more than a factor of ten.
    """
    return lambda step, parts=0, /: progress(f"[{number}/{of}] {step}", parts)


def seconds_left(elapsed_s: float, done: int, parts: int) -> float | None:
    """Return how long the parts that are left take if they take as long as those that are done did on average.

    Returns:
        Seconds; None where too few parts are done to say, or none is left.
    """
    return elapsed_s / done * (parts - done) if LEAST_PARTS <= done < parts else None


def left_in_words(seconds: float | None) -> str:
    """Say how much time is left, no more exactly than is known; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"about {max(1, round(seconds))} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 120 else f"about {round(minutes / 60)} h left"
