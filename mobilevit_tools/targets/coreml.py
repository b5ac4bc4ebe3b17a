"""Core ML: ML Program packages, run by Core ML on Apple's systems and by the reference runtime anywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets._base import Package, Target, TargetOptions, option
from mobilevit_tools.targets.precisions import FLOATING

if TYPE_CHECKING:
    from mobilevit_tools.data.contract import OutputKind

DEPLOYMENT_TARGETS = ("iOS16", "iOS17", "iOS18")
DEFAULT_DEPLOYMENT_TARGET = "iOS17"
_NEEDS_SYSTEM = {"int8": "iOS17", "int4-weight": "iOS18"}


@dataclass(frozen=True)
class CoremlOptions(TargetOptions):
    """What only Core ML takes.

    Attributes:
        tensor_io: A normalised tensor in and logits out, in place of an image in and probabilities out.
        deployment_target: The oldest system that must run the package; by default the oldest that the precision
            allows, from iOS 17 on.
        nms: Suppress a detector's overlapping boxes by Core ML's own model for that.
    """

    tensor_io: bool = option(False, "take a tensor and return logits, instead of an image and probabilities.")
    deployment_target: str | None = option(
        None,
        f"{', '.join(DEPLOYMENT_TARGETS)}. Default: {DEFAULT_DEPLOYMENT_TARGET}, or what the precision requires.",
    )

    nms: bool = option(False, "detect: non-maximum suppression, so that Vision returns recognized objects.")

    def settled(self, precision: str) -> CoremlOptions:
        """Fill in the oldest system that runs the precision."""
        if self.deployment_target is not None:
            return self
        needed = _NEEDS_SYSTEM.get(precision, DEFAULT_DEPLOYMENT_TARGET)
        return replace(self, deployment_target=max(needed, DEFAULT_DEPLOYMENT_TARGET, key=DEPLOYMENT_TARGETS.index))

    def check(self, *, precision: str, batch: int) -> None:
        """Refuse several images at once, and a system that is unknown or too old for the precision."""
        if batch > 1 and not self.tensor_io:
            raise UsageError(
                "A Core ML package with an image input supports a batch of 1 only.",
                hint="Omit --batch, or pass --tensor-io.",
            )
        if self.nms and self.tensor_io:
            raise UsageError(
                "--nms makes a Core ML package for Vision, which gives it an image.",
                hint="Omit --nms or --tensor-io.",
            )
        chosen = self.deployment_target
        if chosen not in DEPLOYMENT_TARGETS:
            raise UsageError(
                f"There is no deployment target named {chosen!r}.",
                hint=f"Supported: {', '.join(DEPLOYMENT_TARGETS)}.",
            )
        needed = _NEEDS_SYSTEM.get(precision)
        if needed and DEPLOYMENT_TARGETS.index(chosen) < DEPLOYMENT_TARGETS.index(needed):
            raise UsageError(
                f"{precision} needs {needed} or later, not {chosen}.",
                hint=f"Give --deployment-target {needed}.",
            )

    @property
    def takes_image(self) -> bool:
        """Whether the package takes an image."""
        return not self.tensor_io

    @property
    def suppressed(self) -> OutputKind | None:
        """What a detector's package gives that chooses among its boxes by itself."""
        return "objects" if self.nms else None


TARGET = Target(
    name="coreml",
    title="Core ML",
    suffixes=(".mlpackage", ".mlmodel", ".mlmodelc"),
    folders=(".mlpackage", ".mlmodelc"),
    precisions=(*FLOATING, "int8", "int8-weight", "int4-weight", "palette8", "palette6", "palette4"),
    packages=(Package("coremltools", "exporting to Core ML, and the reference runtime", ("9.0",)),),
    exporting=("coremltools",),
    running="coremltools",
    exporter="mobilevit_tools.exporters.coreml",
    runtime="mobilevit_tools.runtimes.coreml.session",
    weights="mobilevit_tools.comparison.coreml:read_weights",
    layers="mobilevit_tools.comparison.coreml:read_layers",
    prepare="mobilevit_tools.targets.coreml_imports:prepare",
    summary="export; verified in the reference runtime, and in Core ML on macOS",
    options=CoremlOptions,
    calibration_methods=("percentile", "min-max"),
    student="mobilevit_tools.quantization.coreml_student:make_student",
    learns=("int8", "int4-weight", "palette6", "palette4"),
    keeps_ranges=True,
    quantized_arithmetic="fp16",  # its accelerators compute in half precision
    devices=("host", "ssh", "iphone"),
    host_systems=("darwin",),
    own_threads=True,
    least_snr_db=40.0,  # it also chooses what it computes in half precision: the fp16 gate of verification
    wheels=("coremltools",),
    pairs=(("torch", "coremltools"), ("numpy", "coremltools")),
)
