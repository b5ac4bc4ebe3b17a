"""What the runner in Python and the engine of each target share; pushed beside them, for Python 3.9 and later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

BAD_FILE, NOT_LOADED, INPUT_REFUSED, RUN_FAILED = 2, 3, 4, 5


class RunnerError(Exception):
    """Ends the program with an exit code and a sentence."""

    def __init__(self, code: int, sentence: object) -> None:
        super().__init__(" ".join(str(sentence).split()))
        self.code = code


class Engine(ABC):
    """A loaded model with one input and one output.

    Attributes:
        dtype: The input's type, as NumPy names it.
        shape: The input's sizes; None where any is taken.
    """

    dtype: str
    shape: list[int | None]

    @abstractmethod
    def bind(self, array: Any) -> Callable[[], Any]:
        """Return a call that runs on ``array`` and gives the output."""

    @abstractmethod
    def end_profile(self) -> None:
        """Write the profile that was asked for."""


def check_one(inputs: int, outputs: int) -> None:
    """Refuse a model that does not have one input and one output."""
    if (inputs, outputs) != (1, 1):
        raise RunnerError(NOT_LOADED, "the model does not have one input and one output")
