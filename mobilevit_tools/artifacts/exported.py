"""What an export says of the artifacts that it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.exporters._base import Delegation
from mobilevit_tools.models.branches import Fused
from mobilevit_tools.precision.record import Preflight
from mobilevit_tools.quantization._base import QuantizationRecord
from mobilevit_tools.quantization.share import QuantizedShare
from mobilevit_tools.result import Result, Shown
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.verification.parity import Parity


@dataclass(frozen=True, repr=False)
class ExportedArtifact(Shown):
    """One finished artifact.

    Attributes:
        target: Its target.
        backend: Its backend; None where the target has no choice.
        precision: Its precision.
        path: Where it is; where a failed one would have been, if it was not kept.
        manifest: Where its manifest is.
        bundle: Where its golden bundle is; None where none was asked for.
        size_bytes: Its size.
        params: Parameters of the model as its authors wrote it.
        macs: Multiply-accumulates of one image.
        parity: How right it is.
        delegation: How much its backend took over; None where that does not apply.
        rewrites: The deployment rewrites that were applied, in order.
        rewrite_difference: How far they moved the outputs in float64, as a share of the largest.
        quantization: How it was quantized; None where it is in floating point.
        quantized: How much of it is; None where it is in floating point, or nothing multiplies by a weight.
        preflight: What half precision does to the model, and what stays in float32 for it; None in float32.
        seconds: How long it took, by step, in ``other`` and in ``total``.
        kept: Whether the artifact is on disk.
    """

    target: str
    backend: str | None
    precision: str
    path: Path
    manifest: Path
    bundle: Path | None
    size_bytes: int
    params: int
    macs: int
    parity: Parity
    delegation: Delegation | None
    rewrites: tuple[AppliedRewrite, ...]
    rewrite_difference: float
    quantization: QuantizationRecord | None
    quantized: QuantizedShare | None
    preflight: Preflight | None
    seconds: Mapping[str, float]
    kept: bool


@dataclass(frozen=True, repr=False)
class ExportResult(Result, command="export"):
    """All artifacts of one call, in the order of its targets.

    Attributes:
        model: The model's name.
        random_weights: Whether the weights are random.
        ema: Whether the checkpoint's moving average was taken; None where it holds a single set.
        artifacts: The artifacts.
        left_out: Keys of the checkpoint that are of no part of the model.
        fused: What became of branches that only training needs; None where the model has none.
    """

    model: str
    random_weights: bool
    ema: bool | None
    artifacts: tuple[ExportedArtifact, ...]
    left_out: tuple[str, ...] = ()
    fused: Fused | None = None
