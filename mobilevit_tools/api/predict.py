"""Classify photos with an artifact, the way an app would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevit_tools.api.given import artifact_path
from mobilevit_tools.data.contract import CLASS_SCORES, Contract
from mobilevit_tools.errors import BadInputError, GateError
from mobilevit_tools.exporters.manifest import check_digest
from mobilevit_tools.process_state import restoring
from mobilevit_tools.result import Result
from mobilevit_tools.runtimes._base import Session, only_input
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.registry import target_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Guess:
    """One class of a prediction.

    Attributes:
        label: The class's name, or its index where names are unknown.
        index: The class's index.
        probability: Between 0 and 1; None where there is one output alone, which may as well be a logit, a
            probability or a measure: only its model's authors know.
        value: The model's output for the class: a logit, as a rule.
    """

    label: str
    index: int
    probability: float | None
    value: float


@dataclass(frozen=True)
class Prediction:
    """One image's most probable classes, the most probable first."""

    image: Path
    top: tuple[Guess, ...]


@dataclass(frozen=True, repr=False)
class PredictResult(Result, command="predict"):
    """The predictions for all images, in the order given."""

    artifact: Path
    predictions: tuple[Prediction, ...]


@restoring
def predict(artifact: str | Path, images: Sequence[str | Path], *, top: int = 5, threads: int = 1) -> PredictResult:
    """Classify ``images`` with an artifact, preprocessed as its contract, or else its own format, says.

    Raises:
        BadInputError: The artifact or an image cannot be read, the artifact is not the file that its manifest
            describes, or it has no contract, other outputs than logits, not as many as its contract has labels, or a
            single one behind a softmax.
        GateError: The artifact's output is not finite.

    Example:
        >>> result = mvt.predict(artifact, ["photos/cat/1.png"], top=2)
        >>> [guess.label in ("cat", "dog", "horse") for guess in result.predictions[0].top]
        [True, True]
    """
    import numpy as np

    from mobilevit_tools.data.images import load_image

    path = artifact_path(artifact, "predict")
    predictions = []
    target_of(path)
    check_digest(path)
    with open_session(path, threads=threads) as session:
        contract = classifier_contract(session, path)
        info = only_input(session)
        for image in map(Path, images):
            pixels = contract.preprocessing.pixels(load_image(image))[None]
            logits = session.run(info.feed(contract.preprocessing.normalize(pixels), pixels))[0]
            contract.check_logits(logits, info.batch)
            if not np.isfinite(logits[0]).all():
                raise GateError(
                    f"{path} gives NaN or infinity for {image}.",
                    hint="Run `mvt verify` on it, and try another precision.",
                    code="non_finite",
                )
            predictions.append(Prediction(image, _guesses(logits[0], contract, top, path)))
    return PredictResult(path, tuple(predictions))


def _guesses(logits: NDArray[Any], contract: Contract, top: int, path: Path) -> tuple[Guess, ...]:
    import numpy as np

    from mobilevit_tools.verification.metrics import softmax

    labels = contract.labels or tuple(map(str, range(len(logits))))
    if len(logits) == 1:
        if contract.output == "probabilities":
            raise BadInputError(
                f"{path} has one class and gives its probability among all classes: it says the same of every photo.",
                hint="Export the model again, so that the artifact gives its output as it is.",
                code="single_output",
            )
        return (Guess(labels[0], 0, None, float(logits[0])),)
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Guess(labels[i], int(i), float(probabilities[i]), float(logits[i])) for i in best)


def classifier_contract(session: Session, path: Path) -> Contract:
    """Return what an artifact says of its images and classes.

    Raises:
        BadInputError: It says nothing, or gives something else than scores of classes.
    """
    hint = "This needs a classifier that `mvt export` made, or one whose format names an image and labels."
    contract = session.contract or session.described
    if contract is None:
        raise BadInputError(
            f"{path} does not say how to prepare an image and what its outputs mean.", hint=hint, code="no_contract"
        )
    if contract.output not in CLASS_SCORES:
        gives = "feature maps" if contract.output == "features" else "an embedding"
        raise BadInputError(f"{path} gives {gives}, not classes.", hint=hint, code="no_logits")
    return contract
