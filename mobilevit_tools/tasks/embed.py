"""Embeddings: one vector a photo, whose direction is near that of a similar photo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.tasks._base import refuse_maps

if TYPE_CHECKING:
    from mobilevit_tools.models.factory import LoadedModel


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model with its one vector as an embedding; see :class:`mobilevit_tools.tasks._base.Task`."""
    refuse_maps("embed", upsample=upsample)
    if loaded.returns not in ("embedding", "logits"):
        raise BadInputError(
            f"{loaded.name} returns no single vector (batch, n), so it is no embedding.",
            hint="Let the model pool and flatten its maps, or leave --task embed out.",
            code="no_embedding",
        )
    return replace(loaded, task="embed", returns="embedding", num_classes=0, labels=None, output_names=())
