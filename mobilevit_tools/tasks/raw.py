"""Raw outputs: tensors without further interpretation, under their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.tasks._base import Answering, Asked, refuse_maps
from mobilevit_tools.tasks.shown import RawOutput, RawPrediction

if TYPE_CHECKING:
    from mobilevit_tools.models.factory import LoadedModel


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model as it is, with no classes; see :class:`mobilevit_tools.tasks._base.Task`."""
    refuse_maps("raw", upsample=upsample)
    names = loaded.output_names if loaded.returns == "features" else ("output",)
    return replace(loaded, task="raw", returns="features", num_classes=0, labels=None, output_names=names)


def predict(artifact: Answering, images: Sequence[Path], asked: Asked) -> list[RawPrediction]:  # noqa: ARG001
    """Tell the shape and the range of every output; see :class:`mobilevit_tools.tasks._base.Task`."""
    import numpy as np

    predictions = []
    for image in images:
        outputs = artifact.ask(artifact.pixels(image))
        shown = []
        for name, output in zip(artifact.names, outputs, strict=True):
            row = np.asarray(output[0] if output.ndim else output, np.float64)
            artifact.check_finite(row, image)
            shown.append(RawOutput(name, row.shape, float(row.min()), float(row.mean()), float(row.max())))
        predictions.append(RawPrediction(image, tuple(shown)))
    return predictions
