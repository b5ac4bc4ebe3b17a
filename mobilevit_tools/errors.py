"""The one family of errors that people see: what happened, what to do next, and the exit code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, ClassVar

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class ExitCode(IntEnum):
    """Exit status of the ``mvt`` command; part of its documented contract."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    BAD_INPUT = 3
    GATE_FAILED = 4
    MISSING_DEPENDENCY = 5
    DEVICE_FAILED = 6
    INTERRUPTED = 130


class MvtError(Exception):
    """An error with one clear sentence, a machine-readable code and, where there is one, a next step.

    Args:
        message: One sentence for people; names the thing that was wrong.
        hint: What to do or type next.
        code: A stable snake_case identifier; defaults to the class's own.
        result: What was found before it failed, as the call would have returned it.

    Example:
        >>> try:
        ...     mvt.info("care_s00")
        ... except mvt.MvtError as error:
        ...     print(type(error).__name__, error.error_code, int(error.exit_code), error.hint, sep="; ")
        BadInputError; unknown_model; 3; Did you mean care_s0 or care_s2 or care_s1?
    """

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, result: object = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.error_code = code or self.code
        self.result = result
        if hint is not None:
            self.add_note(hint)  # a traceback, also in a notebook, shows notes and nothing else of this


class UsageError(MvtError):
    """The command line or the arguments of an API call conflict or name something unknown."""

    code = "usage"
    exit_code = ExitCode.USAGE


class BadInputError(MvtError):
    """A checkpoint, model, image, label file or artifact cannot be used."""

    code = "bad_input"
    exit_code = ExitCode.BAD_INPUT


class GateError(MvtError):
    """A numeric gate failed: the artifact does not match the model."""

    code = "gate_failed"
    exit_code = ExitCode.GATE_FAILED


class MissingDependencyError(MvtError):
    """A backend, package or program that this command needs is not installed or cannot run the artifact."""

    code = "missing_dependency"
    exit_code = ExitCode.MISSING_DEPENDENCY


class DeviceError(MvtError):
    """A device could not be reached, ran out of resources, or returned a wrong result."""

    code = "device_failed"
    exit_code = ExitCode.DEVICE_FAILED


def told(error: MvtError) -> list[Any]:
    """Return what another process has to know of an error, as JSON; :func:`retold` makes it one again."""
    return [int(error.exit_code), error.message, error.hint, error.error_code]


def retold(stated: Sequence[Any]) -> MvtError:
    """Return the error that another process told of."""
    exit_code, message, hint, code = stated
    kinds: tuple[type[MvtError], ...] = (UsageError, BadInputError, GateError, MissingDependencyError, DeviceError)
    kind = next((each for each in kinds if each.exit_code == exit_code), MvtError)
    return kind(message, hint=hint, code=code)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error of others says, or its kind where it says nothing.

    Colours for a terminal are left out: the sentence may go anywhere.
    """
    said = _ANSI.sub("", str(error)).strip()
    return said.splitlines()[0] if said else type(error).__name__
