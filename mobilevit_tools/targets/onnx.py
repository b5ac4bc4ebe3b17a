"""ONNX, run by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets._base import NativeRunner, Package, Target, TargetOptions, option
from mobilevit_tools.targets.precisions import FLOATING

if TYPE_CHECKING:
    from mobilevit_tools.data.contract import OutputKind

OPSETS = range(18, 24)
DEFAULT_OPSET = 20
OPSET_OF_16_BITS = 21
"""The first operator set that quantizes to 16 bits."""


@dataclass(frozen=True)
class OnnxOptions(TargetOptions):
    """What only ONNX takes.

    Attributes:
        dynamic_batch: Leave the batch dimension free.
        opset: The operator set.
        nms: Suppress a detector's overlapping boxes in the graph.
    """

    dynamic_batch: bool = option(False, "allow any batch size.")
    opset: int | None = option(
        None,
        f"the operator set, {OPSETS.start} or later. Default: {DEFAULT_OPSET}, or {OPSET_OF_16_BITS} for a16w8.",
    )
    nms: bool = option(False, "detect: non-maximum suppression in the graph.")

    def settled(self, precision: str) -> Self:
        """Choose the operator set."""
        return (
            self
            if self.opset is not None
            else replace(self, opset=OPSET_OF_16_BITS if precision == "a16w8" else DEFAULT_OPSET)
        )

    def check(self, *, precision: str, batch: int) -> None:  # noqa: ARG002
        """Refuse an operator set that the exporter does not write, or that lacks what the precision needs."""
        least = OPSET_OF_16_BITS if precision == "a16w8" else OPSETS.start
        if self.opset is not None and not least <= self.opset < OPSETS.stop:
            raise UsageError(
                f"Opset {self.opset} is out of range for {precision}.",
                hint=f"Give one from {least} to {OPSETS.stop - 1}.",
            )

    @property
    def free_batch(self) -> bool:
        """Whether the artifact takes any number of images at once."""
        return self.dynamic_batch

    @property
    def suppressed(self) -> OutputKind | None:
        """What a detector's artifact gives that chooses among its boxes by itself."""
        return "detections" if self.nms else None


TARGET = Target(
    name="onnx",
    title="ONNX",
    suffixes=(".onnx",),
    precisions=(*FLOATING, "int8", "a16w8", "int8-weight", "dynamic-int8"),
    packages=(
        Package("onnx", "exporting to ONNX", ("1.23.",)),
        Package("onnxscript", "exporting to ONNX", ("0.7.",)),
        Package("onnxruntime", "running ONNX artifacts", ("1.31.",)),
    ),
    exporting=("onnx", "onnxscript", "onnx_ir"),
    running="onnxruntime",
    exporter="mobilevit_tools.exporters.onnx",
    runtime="mobilevit_tools.runtimes.onnx",
    native_runtime=True,
    weights="mobilevit_tools.comparison.onnx:read_weights",
    layers="mobilevit_tools.comparison.onnx:read_layers",
    summary="export; runs in ONNX Runtime",
    options=OnnxOptions,
    calibration_methods=("percentile", "min-max", "entropy"),
    student="mobilevit_tools.quantization.onnx_student:make_student",
    learns=("int8",),
    keeps_ranges=True,
    devices=("host", "count", "arm64", "adb", "ssh", "browser", "htp"),
    native_runner=NativeRunner(
        package="onnxruntime",
        folder="capi",
        source="onnxruntime_runner.cpp",
        libraries=("libonnxruntime.so.1",),
        headers="mobilevit_tools.devices.onnx:headers",
        debian=("libonnxruntime-dev", "usr/include/onnxruntime"),
    ),
    profile_reader="mobilevit_tools.devices.onnx:read_profile",
    stage_reader="mobilevit_tools.reporting.onnx_stages:stages_of",
    graph_reader="mobilevit_tools.reporting.onnx_nodes:nodes_of",
    wheels=("onnxruntime",),
    pairs=(("torch", "onnxscript"), ("onnx", "onnxruntime")),
)
