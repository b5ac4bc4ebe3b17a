"""How near a quantized model is to its float model, as data only: importing this module imports no framework."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Nearness:
    """How near a quantized model is to its float model.

    Attributes:
        snr_db: Signal-to-noise ratio of the outputs of all photos together, in dB.
        worst_snr_db: That of the worst photo.
        agreement: Share of photos with the same top-1; None where outputs are no scores of classes.
        photos: How many photos.
    """

    snr_db: float
    worst_snr_db: float
    agreement: float | None
    photos: int
