"""What a failed test of coremltools shows of the reference runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from tools.conformance.known import reason

TIMEOUT_S = 60


class TookTooLongError(BaseException):
    """A test ran for more than a minute."""


def chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and what led to it, as Python prints them."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def failures(
    test: str, chain: list[BaseException], *, predictions: int, close_enough: Callable[[], bool]
) -> Iterator[tuple[str, str]]:
    """What a failed test showed: the first of these that fits."""
    for each in chain:
        if isinstance(each, UnsupportedOperatorError):
            yield "unsupported", ", ".join(each.operators)
    if text := reason(test):
        yield "not comparable", text
    for each in chain:
        if isinstance(each, TookTooLongError):
            yield "too slow", f"more than {TIMEOUT_S} s"
        if isinstance(each, BadInputError):
            yield "refused", each.message
    if not predictions:
        yield "no prediction", f"failed before: {chain[0] if chain else ''}"[:200]
    if chain and isinstance(chain[0], AssertionError):
        yield ("half rounding", "") if close_enough() else ("wrong", str(chain[0])[:300])
    yield "crash", f"{type(chain[0]).__name__}: {chain[0]}"[:300] if chain else ""
