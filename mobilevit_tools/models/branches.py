"""What became of branches that only training needs; :mod:`mobilevit_tools.models.fusing` fuses them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fused:
    """What became of a model's branches.

    Attributes:
        places: How many modules were fused.
        saved_params: How many parameters fewer the model has for it.
        difference: By how much the model differs from itself in float64, as a share of its largest output.
        left: Why nothing was fused after all; None where it was.
    """

    places: int
    saved_params: int
    difference: float
    left: str | None = None
