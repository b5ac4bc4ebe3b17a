"""Raw outputs: tensors that only their reader understands, under their names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mobilevit_tools.tasks._base import refuse_maps

if TYPE_CHECKING:
    from mobilevit_tools.models.factory import LoadedModel


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model as it is, with no classes; see :class:`mobilevit_tools.tasks._base.Task`."""
    refuse_maps("raw", upsample=upsample)
    names = loaded.output_names if loaded.returns == "features" else ("output",)
    return replace(loaded, task="raw", returns="features", num_classes=0, labels=None, output_names=names)
