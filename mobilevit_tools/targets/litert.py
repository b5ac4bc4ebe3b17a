"""LiteRT, which was TensorFlow Lite: ``.tflite`` models, run by LiteRT's interpreter with XNNPACK."""

from __future__ import annotations

from mobilevit_tools.targets._base import Package, Target

_EXTRA = "litert"

TARGET = Target(
    name="litert",
    title="LiteRT",
    suffixes=(".tflite",),
    precisions=("fp32",),
    packages=(
        Package("litert-torch", "exporting to LiteRT", ("0.10.0",), extra=_EXTRA, module="litert_torch"),
        Package("ai-edge-litert", "running LiteRT's artifacts", ("2.3.0",), extra=_EXTRA, module="ai_edge_litert"),
    ),
    exporting=("litert_torch",),
    running="ai_edge_litert",
    exporter="mobilevit_tools.exporters.litert",
    runtime="mobilevit_tools.runtimes.litert",
    native_runtime=True,
    weights="mobilevit_tools.comparison.litert:read_weights",
    rewrites=("elu_plus_one",),
    summary="export; runs in LiteRT's interpreter with XNNPACK",
    pairs=(("torch", "litert-torch"), ("ai-edge-litert", "litert-torch")),
)
