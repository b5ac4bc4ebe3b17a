"""Run people's code: whatever it raises becomes one sentence that names the line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from mobilevit_tools.blame import line_of
from mobilevit_tools.errors import BadInputError, MvtError, first_line
from mobilevit_tools.models.sources.torchvision import REMEDY

_Result = TypeVar("_Result")


def guarded(what: str, run: Callable[[], _Result], *, hint: str | None = None) -> _Result:
    """Return what ``run`` returns.

    Args:
        what: The beginning of the sentence, such as ``net.py:build``.
        run: People's code.
        hint: What to do where it fails.

    Raises:
        BadInputError: It raised anything, or wanted to end the process.
    """
    try:
        return run()
    except MvtError:
        raise
    except (Exception, SystemExit) as error:
        said = first_line(error) if str(error).strip() else "no message"
        line = line_of(error)
        raise BadInputError(
            f"{what} failed with {type(error).__name__}: {said}" + (f" ({line})" if line else ""),
            hint=hint or _remedy(error),
            code="own_model",
        ) from error


def _remedy(error: BaseException) -> str:
    """Return what helps; packages report a torchvision of another torch in many ways."""
    cause: BaseException | None = error
    while cause is not None:
        if "operator torchvision::" in str(cause):
            return REMEDY
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return f"Install {error.name.partition('.')[0]} in the environment of mvt: {sys.prefix}"
    return "Add -vv for the traceback."
