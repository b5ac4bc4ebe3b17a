"""LiteRT, which was TensorFlow Lite: ``.tflite`` models, run by LiteRT's interpreter with XNNPACK."""

from __future__ import annotations

from mobilevit_tools.targets._base import NativeRunner, Package, Target

_EXTRA = "litert"

TARGET = Target(
    name="litert",
    title="LiteRT",
    suffixes=(".tflite",),
    precisions=("fp32", "int8", "int8-weight"),
    packages=(
        Package("litert-torch", "exporting to LiteRT", ("0.10.0",), extra=_EXTRA, module="litert_torch"),
        Package("ai-edge-quantizer", "quantizing for LiteRT", ("0.10.0",), extra=_EXTRA, module="ai_edge_quantizer"),
        Package("ai-edge-litert", "running LiteRT's artifacts", ("2.3.0",), extra=_EXTRA, module="ai_edge_litert"),
    ),
    exporting=("litert_torch", "ai_edge_quantizer"),
    running="ai_edge_litert",
    exporter="mobilevit_tools.exporters.litert",
    runtime="mobilevit_tools.runtimes.litert",
    native_runtime=True,
    runs_apart=True,  # what its interpreter checks is not all that its kernels assume
    weights="mobilevit_tools.comparison.litert:read_weights",
    layers="mobilevit_tools.comparison.litert:read_layers",
    calibration_methods=("min-max",),
    rewrites=("depthwise_lattices", "elu_plus_one"),
    devices=("host", "count", "arm64", "adb"),
    native_runner=NativeRunner(
        package="ai_edge_litert", folder="", source="litert_runner.cpp", libraries=("libLiteRt.so",)
    ),
    profile_reader="mobilevit_tools.devices.litert:read_profile",
    summary="export; runs in LiteRT's interpreter with XNNPACK",
    pairs=(("torch", "litert-torch"), ("ai-edge-litert", "litert-torch")),
)
