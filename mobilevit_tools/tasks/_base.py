"""What every task has: what of a model goes into an artifact, and how an artifact's answers are shown and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mobilevit_tools.data.contract import OutputKind, TaskName
from mobilevit_tools.errors import UsageError
from mobilevit_tools.result import Shown

if TYPE_CHECKING:
    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.models.factory import LoadedModel


@dataclass(frozen=True)
class TaskCard:
    """A task as data.

    Attributes:
        name: Its name.
        summary: What outputs of it are.
        module: The dotted name of the module that is a :class:`Task`.
        outputs: What artifacts of it may give, the default first.
        judges: The dotted names of the modules that judge outputs whose distance from the model's says little, by what
            they hold; see :class:`mobilevit_tools.verification.judging`.
    """

    name: TaskName
    summary: str
    module: str
    outputs: tuple[OutputKind, ...]
    judges: tuple[tuple[OutputKind, str], ...] = ()


@dataclass(frozen=True)
class Asked:
    """What people want of predictions.

    Attributes:
        top: How many classes or neighbours to show.
        output: The folder for pictures; None puts each beside its photo.
        overwrite: Replace pictures that are there.
    """

    top: int = 5
    output: Path | None = None
    overwrite: bool = False


Answer: TypeAlias = "Callable[[Path], list[Any]]"
"""Gives what an artifact answers to one photo, output by output, without a batch dimension; all of it is finite."""


class Task(Protocol):
    """The functions that a task's module has."""

    def fit(self, loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
        """Return the model as artifacts of this task compute it.

        Raises:
            BadInputError: Its outputs are not such as this task is about.
            UsageError: ``upsample`` is for maps, and this task has none.
        """

    def predict(
        self, answer: Answer, contract: Contract, images: Sequence[Path], asked: Asked, path: Path
    ) -> Sequence[Shown]:
        """Return a prediction for every photo, in the order given.

        Raises:
            BadInputError: The artifact's outputs are not what its contract says, or a photo cannot be read.
            UsageError: A picture would replace a file.
        """


def refuse_maps(task: str, *, upsample: bool) -> None:
    """Refuse options that are about maps of scores for a task that has none.

    Raises:
        UsageError: They are given.
    """
    if upsample:
        raise UsageError(
            f"--upsample resizes a segmenter's map, and this model's task is {task}.",
            hint="Give --task segment, or leave it out.",
        )
