"""Show photos to an artifact, the way an app would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mobilevit_tools.api.given import given_artifact
from mobilevit_tools.data.contract import CLASS_SCORES, Contract, TaskName
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.process_state import restoring
from mobilevit_tools.result import Result
from mobilevit_tools.runtimes._base import Session, only_input
from mobilevit_tools.several import several
from mobilevit_tools.tasks._base import SHOWN_SCORE, Answering, Asked
from mobilevit_tools.tasks.registry import find_task, load_task
from mobilevit_tools.tasks.shown import DetectPrediction, EmbedPrediction, Prediction, RawPrediction, SegmentPrediction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HINT = "Use an artifact from `mvt export`, or a classifier that declares an image input and labels."

Predicted: TypeAlias = Prediction | SegmentPrediction | DetectPrediction | EmbedPrediction | RawPrediction


@dataclass(frozen=True, repr=False)
class PredictResult(Result, command="predict"):
    """The predictions for all images, in the order given.

    Attributes:
        artifact: The artifact.
        task: What its outputs mean.
        predictions: What it says of each image: classes, shares of pixels, boxes, neighbours or raw outputs.
    """

    artifact: Path
    task: TaskName
    predictions: tuple[Predicted, ...]


@restoring
def predict(
    artifact: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    top: int = 5,
    output: str | Path | None = None,
    overwrite: bool = False,
    least_score: float = SHOWN_SCORE,
    threads: int = 1,
) -> PredictResult:
    """Show ``images`` to an artifact, preprocessed as its contract, or else its own format, says.

    A classifier tells each photo's most probable classes; a segmenter the share of each class, and writes a picture
    of them over the photo; a detector boxes, and draws them; an embedding the nearest of the other photos; of other
    outputs their shapes are told.

    Args:
        artifact: The artifact's path.
        images: Photos.
        top: How many classes or neighbours to tell, the first ones.
        output: Segmentation and detection: the folder for the pictures; by default `predictions`.
        overwrite: Replace pictures that are there.
        least_score: Detection: boxes that score less are not shown, from 0 to 1.
        threads: Threads of one inference.

    Raises:
        BadInputError: The artifact or an image cannot be read, the artifact is not the file that its manifest
            describes, or it has no contract, other outputs than its contract says, not as many as its contract has
            labels, or a single one behind a softmax.
        UsageError: A picture would replace a file.
        GateError: The artifact's output is not finite.

    Example:
        >>> result = mvt.predict(artifact, ["photos/cat/1.png"], top=2)
        >>> all(guess.label in ("cat", "dog", "horse") for guess in result.predictions[0].top)
        True
    """
    given = given_artifact(artifact, "predict")
    given.check()
    path = given.path
    with given.open(threads=threads) as session:
        contract = stated_contract(session, path)
        answering = answering_with(session, contract, path)
        asked = Asked(top, None if output is None else Path(output), overwrite, least_score)
        predictions = load_task(contract.means).predict(answering, [Path(image) for image in several(images)], asked)
    return PredictResult(path, contract.means, cast("tuple[Predicted, ...]", tuple(predictions)))


def answering_with(session: Session, contract: Contract, path: Path) -> Answering:
    """Return a loaded artifact as tasks ask it.

    Raises:
        BadInputError: It takes something else than one input, or gives no numbers.
    """
    info = only_input(session)

    def ask(pixels: NDArray[np.uint8]) -> list[NDArray[Any]]:
        return session.run(info.feed(contract.preprocessing.normalize(pixels[None]), pixels[None]))

    names = contract.outputs or tuple(each.name for each in session.outputs if each.kind != "label")
    return Answering(path, contract, info.batch, names, ask)


def stated_contract(session: Session, path: Path) -> Contract:
    """Return what an artifact, or else its format, says of its images and outputs.

    Raises:
        BadInputError: Neither says anything.
    """
    contract = session.contract or session.described
    if contract is None:
        raise BadInputError(f"{path} does not describe its preprocessing and outputs.", hint=_HINT, code="no_contract")
    return contract


def classifier_contract(session: Session, path: Path) -> Contract:
    """Return what an artifact says of its images and classes.

    Raises:
        BadInputError: It says nothing, or gives something else than scores of classes.
    """
    contract = stated_contract(session, path)
    if contract.output not in CLASS_SCORES:
        gives = find_task(contract.means).summary
        raise BadInputError(f"{path} gives {gives}: it is of the task {contract.means}.", hint=_HINT, code="no_logits")
    return contract
