"""Classification: a score for each class of the photo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.tasks._base import refuse_maps

if TYPE_CHECKING:
    from mobilevit_tools.models.factory import LoadedModel


def fit(loaded: LoadedModel, *, upsample: bool) -> LoadedModel:
    """Return the model as it is; see :class:`mobilevit_tools.tasks._base.Task`."""
    refuse_maps("classify", upsample=upsample)
    if loaded.returns != "logits":
        raise BadInputError(
            f"{loaded.name} returns no logits (batch, classes), so it classifies nothing.",
            hint="Leave --task out, or say which other task it is of.",
            code="no_logits",
        )
    return replace(loaded, task="classify")
