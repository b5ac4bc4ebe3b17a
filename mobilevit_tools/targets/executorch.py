"""ExecuTorch: programs for XNNPACK, the portable kernels, Core ML or Vulkan."""

from __future__ import annotations

from mobilevit_tools.targets._base import Backend, BadPair, NativeRunner, Package, Target
from mobilevit_tools.targets.precisions import FLOATING

TARGET = Target(
    name="executorch",
    title="ExecuTorch",
    suffixes=(".pte",),
    precisions=(*FLOATING, "int8", "dynamic-int8"),
    packages=(
        Package("executorch", "exporting to ExecuTorch, and running its programs", ("1.5.1",)),
        Package("torchao", "quantizing for ExecuTorch", ("0.18.",)),
    ),
    exporting=("executorch",),
    running="executorch",
    exporter="mobilevit_tools.exporters.executorch",
    runtime="mobilevit_tools.runtimes.executorch",
    native_runtime=True,
    weights="mobilevit_tools.comparison.executorch:read_weights",
    backends=(
        Backend(
            "xnnpack",
            "export and run",
            rewrites=(
                "cluster_arithmetic",
                "depthwise_lattices",
                "elu_plus_one",
                "layer_norm_affine",
                "split_slices",
                "plain_views",
                "last_axis_softmax",
                "layer_norm_products",
                "token_means",
                "flat_matmul",
            ),
            declines=("layer_scale",),
            delegate="XnnpackBackend",
            reasons="mobilevit_tools.exporters.xnnpack_outside:REASONS",
        ),
        Backend("portable", "export and run", quantizes=False),
        Backend(
            "coreml",
            "export only; its runtime requires an Apple system",
            quantizes=False,
            apps=("apple",),
            delegate="CoreMLBackend",
        ),
        Backend(
            "vulkan",
            "export only; its runtime requires Android",
            quantizes=False,
            apps=("android",),
            delegate="VulkanBackend",
        ),
    ),
    calibration_methods=("histogram", "min-max"),
    student="mobilevit_tools.quantization.executorch_student:make_student",
    learns=("int8",),
    keeps_ranges=True,
    devices=("host", "count", "arm64", "adb", "ssh"),
    native_runner=NativeRunner(
        package="executorch",
        folder="lib",
        source="executorch_runner.cpp",
        libraries=(
            "libexecutorch.so",
            "libexecutorch_backend_xnnpack.so",
            "libexecutorch_etdump.so",
            "libexecutorch_kernels_optimized.so",
            "libexecutorch_kernels_quantized.so",
            "libexecutorch_threadpool.so",
        ),
        headers="mobilevit_tools.devices.executorch:headers",
        defines=("C10_USING_CUSTOM_GENERATED_MACROS",),
    ),
    profile_reader="mobilevit_tools.devices.executorch:read_profile",
    wheels=("executorch", "torch"),
    bad_pairs=(
        BadPair(
            ("executorch", "1.4"),
            ("torch", ""),
            "the wheel of ExecuTorch 1.4 lacks the runtime headers and writes empty ETDumps",
            "pip install 'executorch>=1.5.1,<1.6'",
        ),
    ),
    pairs=(("torch", "executorch"), ("torch", "torchao")),
    effort=22.0,
)
