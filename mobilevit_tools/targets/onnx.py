"""ONNX, run by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets._base import NativeRunner, Package, Target, TargetOptions, option
from mobilevit_tools.targets.precisions import FLOATING

OPSETS = range(18, 24)
DEFAULT_OPSET = 20


@dataclass(frozen=True)
class OnnxOptions(TargetOptions):
    """What only ONNX takes.

    Attributes:
        dynamic_batch: Leave the batch dimension free.
        opset: The operator set.
        nms: Suppress a detector's overlapping boxes in the graph.
    """

    dynamic_batch: bool = option(False, "allow any batch size.")
    opset: int = option(DEFAULT_OPSET, f"the operator set, {OPSETS.start} or later. Default: {DEFAULT_OPSET}.")
    nms: bool = option(False, "detect: non-maximum suppression in the graph.")

    def check(self, *, precision: str, batch: int) -> None:  # noqa: ARG002
        """Refuse an operator set that the exporter does not write."""
        if self.opset not in OPSETS:
            raise UsageError(
                f"Opset {self.opset} is out of range.", hint=f"Give one from {OPSETS.start} to {OPSETS.stop - 1}."
            )

    @property
    def free_batch(self) -> bool:
        """Whether the artifact takes any number of images at once."""
        return self.dynamic_batch

    @property
    def suppresses(self) -> bool:
        """Whether a detector's artifact chooses among its boxes by itself."""
        return self.nms


TARGET = Target(
    name="onnx",
    title="ONNX",
    suffixes=(".onnx",),
    precisions=(*FLOATING, "int8", "int8-weight", "dynamic-int8"),
    packages=(
        Package("onnx", "exporting to ONNX", ("1.23.",)),
        Package("onnxscript", "exporting to ONNX", ("0.7.",)),
        Package("onnxruntime", "running ONNX artifacts", ("1.31.",)),
    ),
    exporting=("onnx", "onnxscript"),
    running="onnxruntime",
    exporter="mobilevit_tools.exporters.onnx",
    runtime="mobilevit_tools.runtimes.onnx",
    native_runtime=True,
    weights="mobilevit_tools.comparison.onnx:read_weights",
    layers="mobilevit_tools.comparison.onnx:read_layers",
    summary="export; runs in ONNX Runtime",
    options=OnnxOptions,
    calibration_methods=("percentile", "min-max", "entropy"),
    devices=("host", "count", "arm64", "adb", "ssh", "browser"),
    native_runner=NativeRunner(
        package="onnxruntime",
        folder="capi",
        source="onnxruntime_runner.cpp",
        libraries=("libonnxruntime.so.1",),
        headers="mobilevit_tools.devices.onnx:headers",
    ),
    profile_reader="mobilevit_tools.devices.onnx:read_profile",
    stage_reader="mobilevit_tools.reporting.onnx_stages:stages_of",
    wheels=("onnxruntime",),
    pairs=(("torch", "onnxscript"), ("onnx", "onnxruntime")),
)
