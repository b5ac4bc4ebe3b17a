"""Classification: one score per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.tasks._base import Answering, Asked, refuse_maps
from mobilevit_tools.tasks.shown import Guess, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.models.factory import LoadedModel


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model as it is; see :class:`mobilevit_tools.tasks._base.Task`."""
    refuse_maps("classify", upsample=upsample)
    if loaded.returns != "logits":
        raise BadInputError(
            f"{loaded.name} returns no logits (batch, classes), so it is not a classifier.",
            hint="Omit --task, or choose another task.",
            code="no_logits",
        )
    return replace(loaded, task="classify")


def predict(artifact: Answering, images: Sequence[Path], asked: Asked) -> list[Prediction]:
    """Return the most probable classes of every photo; see :class:`mobilevit_tools.tasks._base.Task`."""
    predictions = []
    for image in images:
        logits = artifact.ask(artifact.pixels(image))[0]
        artifact.contract.check_logits(logits, artifact.batch)
        artifact.check_finite(logits[0], image)
        predictions.append(Prediction(image, _guesses(logits[0], artifact.contract, asked.top, artifact.path)))
    return predictions


def _guesses(logits: NDArray[Any], contract: Contract, top: int, path: Path) -> tuple[Guess, ...]:
    import numpy as np

    from mobilevit_tools.tasks.probabilities import softmax

    labels = contract.labels or tuple(map(str, range(len(logits))))
    if len(logits) == 1:
        if contract.output == "probabilities":
            raise BadInputError(
                f"{path} has one class and returns its softmax, which is always 1.",
                hint="Export the model again so that the artifact returns the raw output.",
                code="single_output",
            )
        return (Guess(labels[0], 0, None, float(logits[0])),)
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Guess(labels[i], int(i), float(probabilities[i]), float(logits[i])) for i in best)
