"""What a verification of an artifact that is there already found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.devices import Partitioning
from mobilevit_tools.result import Result
from mobilevit_tools.verification.metrics import Distance
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.tolerances import Tolerance


@dataclass(frozen=True, repr=False)
class VerifyResult(Result, command="verify"):
    """What a verification found.

    Attributes:
        artifact: The artifact.
        model: The model that it was compared with.
        precision: The precision whose gate was applied.
        gate: The gate.
        digest_matches: Whether the file is the one that its manifest describes; None without a manifest.
        parity: The figures and the verdict.
        native: The same on the system's own runtime, where ``parity`` comes from a model of it and the system has it
            (Core ML on macOS).
        device: Where the artifact ran, in full; None where it ran in this process.
        difference: How far the device's outputs are from this machine's, over all inputs; None without a device, or
            where this machine cannot run the artifact or gets what is not finite.
        agreement: The share of the images with the same top-1 on the device as on this machine; None as above, or where
            there are no scores.
        partitioning: What the device's accelerator takes, where it tells.
    """

    artifact: Path
    model: str
    precision: str
    gate: Tolerance
    digest_matches: bool | None
    parity: Parity
    native: Parity | None = None
    device: str | None = None
    difference: Distance | None = None
    agreement: float | None = None
    partitioning: Partitioning | None = None
