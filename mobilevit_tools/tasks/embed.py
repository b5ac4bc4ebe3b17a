"""Embeddings: one vector a photo, whose direction is near that of a similar photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.tasks._base import Answering, Asked, refuse_maps
from mobilevit_tools.tasks.shown import EmbedPrediction, Neighbour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobilevit_tools.models.factory import LoadedModel


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model with its one vector as an embedding; see :class:`mobilevit_tools.tasks._base.Task`."""
    refuse_maps("embed", upsample=upsample)
    if loaded.returns not in ("embedding", "logits"):
        raise BadInputError(
            f"{loaded.name} does not return one vector (batch, n), so it is not an embedding model.",
            hint="Pool and flatten the maps in the model, or omit --task embed.",
            code="no_embedding",
        )
    return replace(loaded, task="embed", returns="embedding", num_classes=0, labels=None, output_names=())


def predict(artifact: Answering, images: Sequence[Path], asked: Asked) -> list[EmbedPrediction]:
    """Tell every photo's nearest neighbours among the others; see :class:`mobilevit_tools.tasks._base.Task`."""
    import numpy as np

    vectors = np.stack([embedding(artifact, artifact.pixels(image), image) for image in images])
    norms = np.linalg.norm(vectors, axis=1)
    cosines = cosine_similarity(vectors, vectors)
    np.fill_diagonal(cosines, -np.inf)
    return [
        EmbedPrediction(
            image,
            vectors.shape[1],
            float(norms[row]),
            tuple(
                Neighbour(images[other], float(cosines[row, other]))
                for other in np.argsort(-cosines[row], kind="stable")[: min(asked.top, len(images) - 1)]
            ),
        )
        for row, image in enumerate(images)
    ]


def embedding(artifact: Answering, pixels: NDArray[np.uint8], image: Path) -> NDArray[np.float64]:
    """Return the embedding (n,) of pixels (3, H, W) of a photo.

    Raises:
        BadInputError: The artifact gives something else than one vector.
        GateError: It is not finite.
    """
    import numpy as np

    outputs = artifact.ask(pixels)
    if len(outputs) != 1 or outputs[0].ndim != 2 or len(outputs[0]) != artifact.batch:
        shown = ", ".join("x".join(map(str, each.shape)) for each in outputs)
        raise BadInputError(f"{artifact.path} gives {shown}, not one embedding per photo.", code="no_embedding")
    artifact.check_finite(outputs[0][0], image)
    return np.asarray(outputs[0][0], np.float64)


def cosine_similarity(rows: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosines (rows, others) between vectors; 0 where one of the two is zero."""
    import numpy as np

    return np.asarray(directions(rows) @ directions(others).T)


def directions(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors (N, n) at length 1; one that is zero stays so."""
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
