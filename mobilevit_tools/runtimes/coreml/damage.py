"""Damaged packages: whatever Python raises on parts that do not fit each other, as one clear error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mobilevit_tools.errors import BadInputError, first_line

UNFIT = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What Python, NumPy and torch raise on numbers, names and sizes that do not fit each other."""


@contextmanager
def refusing(sentence: str) -> Iterator[None]:
    """Refuse what does not fit inside of the block, in a sentence that begins with ``sentence``.

    Raises:
        BadInputError: Something did not fit.
    """
    try:
        yield
    except UNFIT as error:
        raise BadInputError(f"{sentence}: {first_line(error)}") from error
