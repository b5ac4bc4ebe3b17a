"""What every task has: what of a model goes into an artifact, and how an artifact's answers are shown and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mobilevit_tools.data.contract import OutputKind, TaskName
from mobilevit_tools.errors import GateError, UsageError
from mobilevit_tools.result import Shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.models.factory import LoadedModel


SHOWN_SCORE = 0.3
"""What a box must score to be shown; measuring takes far less."""


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
        top: Number of classes or neighbours to show.
        output: The folder for pictures; None is `predictions`.
        overwrite: Replace pictures that are there.
        least_score: Detection: boxes that score less are not shown.
    """

    top: int = 5
    output: Path | None = None
    overwrite: bool = False
    least_score: float = SHOWN_SCORE


@dataclass(frozen=True)
class Answering:
    """An artifact that photos are shown to.

    Attributes:
        path: Its path.
        contract: What it says of itself.
        batch: How many copies of a photo go in at once.
        names: Its outputs' names.
        ask: Gives what it answers to pixels (3, H, W) of its input's size, output by output, each with its batch.
    """

    path: Path
    contract: Contract
    batch: int
    names: tuple[str, ...]
    ask: Callable[[NDArray[np.uint8]], list[NDArray[Any]]]

    def pixels(self, image: Path) -> NDArray[np.uint8]:
        """Return a photo's pixels (3, H, W) as the artifact sees them.

        Raises:
            BadInputError: It cannot be read.
        """
        from mobilevit_tools.data.images import load_image

        return self.contract.preprocessing.pixels(load_image(image))

    def check_finite(self, output: NDArray[Any], image: Path) -> None:
        """Refuse an output of a photo that is not finite.

        Raises:
            GateError: It holds NaN or infinity.
        """
        import numpy as np

        if not np.isfinite(output).all():
            raise GateError(
                f"{self.path} gives NaN or infinity for {image}.",
                hint="Run `mvt verify` on it, or try another precision.",
                code="non_finite",
            )


class Task(Protocol):
    """The functions that a task's module has."""

    def fit(self, loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
        """Return the model as artifacts of this task compute it.

        Raises:
            BadInputError: Its outputs are not such as this task is about.
            UsageError: ``upsample`` is for maps, and this task has none.
        """

    def predict(self, artifact: Answering, images: Sequence[Path], asked: Asked) -> Sequence[Shown]:
        """Return a prediction for every photo, in the order given.

        Raises:
            BadInputError: The artifact's outputs are not what its contract says, or a photo cannot be read.
            UsageError: A picture would replace a file.
            GateError: An output is not finite.
        """


def refuse_maps(task: str, *, upsample: bool) -> None:
    """Refuse options that are about maps of scores for a task that has none.

    Raises:
        UsageError: They are given.
    """
    if upsample:
        raise UsageError(
            f"--upsample requires a segmenter, and this model's task is {task}.",
            hint="Give --task segment, or leave it out.",
        )
