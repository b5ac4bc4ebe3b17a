"""How a model that the project does not ship is built, and which trained weights there are for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from mobilevit_tools.models.loading import Adapt


@dataclass(frozen=True)
class TrainedWeights:
    """Weights that a source has for a model.

    Attributes:
        checkpoint: Where they are, as ``--checkpoint`` takes it.
        labels: Their class names, where they are known.
    """

    checkpoint: str
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class OwnModel:
    """A function that builds a model.

    Attributes:
        name: ``net.py:build``, the entry point's name or a source's; it holds no path.
        builder: The function.
        folder: The folder of its file, importable from while it runs; None for an installed package's.
        classifier: The state-dict prefix of the last linear layer, from which a checkpoint's class count is read; None
            where nobody knows it.
        trained: Finds the trained weights that the model's source has; None where there are none.
        adapt: Takes the model and returns what fits a checkpoint of another layout to it; None where all must fit.
    """

    name: str
    builder: Callable[..., object]
    folder: Path | None = None
    classifier: str | None = None
    trained: Callable[[], TrainedWeights] | None = None
    adapt: Callable[[nn.Module], Adapt] | None = None
