"""Every precision, as data only: what is stored in how many bits, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Precision:
    """One precision.

    Attributes:
        name: The name that ``--precision`` takes.
        summary: What it does, in a few words.
        calibrated: Whether ranges of activations are measured on photos.
        rounded_by_photos: Whether weights are rounded by photos, where there are some.
        weights_alone: Whether weights are rounded, and activations not.
        method: How measured activations become ranges by default, where that is not the target's first choice.
    """

    name: str
    summary: str
    calibrated: bool = False
    rounded_by_photos: bool = False
    weights_alone: bool = False
    method: str | None = None

    @property
    def takes_photos(self) -> bool:
        """Whether photos make a difference."""
        return self.calibrated or self.rounded_by_photos


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        precision.name: precision
        for precision in (
            Precision("fp32", "weights and arithmetic in 32 bits"),
            Precision("fp16", "weights and arithmetic in 16 bits"),
            Precision("int8", "8-bit weights and activations, ranges measured on photos", calibrated=True),
            Precision(
                "a16w8",
                "8-bit weights, 16-bit activations, ranges measured on photos; for NPUs",
                calibrated=True,
                method="min-max",  # with so many levels nothing is gained by clipping
            ),
            Precision("dynamic-int8", "8-bit weights, activation ranges measured at each inference"),
            Precision("int8-weight", "8-bit weights, floating-point arithmetic", weights_alone=True),
            Precision(
                "int4-weight",
                "4-bit weights with a scale per block of 32; iOS 18 and later",
                weights_alone=True,
                rounded_by_photos=True,
            ),
            Precision(
                "palette8",
                "weights as indices into a palette of 256 values",
                weights_alone=True,
                rounded_by_photos=True,
            ),
            Precision(
                "palette6", "weights as indices into a palette of 64 values", weights_alone=True, rounded_by_photos=True
            ),
            Precision(
                "palette4", "weights as indices into a palette of 16 values", weights_alone=True, rounded_by_photos=True
            ),
        )
    }
)

FLOATING = ("fp32", "fp16")
"""Precisions that quantize nothing."""

CALIBRATED = tuple(precision.name for precision in PRECISIONS.values() if precision.takes_photos)
"""Precisions to which photos make a difference: for ranges of activations, or for how weights are rounded."""
