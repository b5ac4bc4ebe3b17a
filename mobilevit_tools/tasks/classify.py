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
        outputs = artifact.ask(artifact.pixels(image))
        artifact.contract.check_logits(outputs[0], artifact.batch)
        artifact.check_finite(outputs[0][0], image)
        alone = artifact.contract.output == "probabilities" and len(outputs) == 1
        guesses = _guesses(outputs[0][0], artifact.contract, asked.top, artifact.path, are_logits=not alone)
        predictions.append(Prediction(image, guesses))
    return predictions


def _guesses(scores: NDArray[Any], contract: Contract, top: int, path: Path, *, are_logits: bool) -> tuple[Guess, ...]:
    import numpy as np

    from mobilevit_tools.tasks.probabilities import are_probabilities, softmax

    labels = contract.labels or tuple(map(str, range(len(scores))))
    if len(scores) == 1:
        if contract.output == "probabilities" and (are_logits or are_probabilities(scores)):
            raise BadInputError(
                f"{path} has one class and returns its softmax, which is always 1.",
                hint="Export the model again so that the artifact returns the raw output.",
                code="single_output",
            )
        return (Guess(labels[0], 0, None, float(scores[0])),)
    known = softmax(scores) if are_logits else scores if are_probabilities(scores) else None
    best = np.argsort(-(scores if known is None else known), kind="stable")[:top]
    return tuple(Guess(labels[i], int(i), None if known is None else float(known[i]), float(scores[i])) for i in best)
