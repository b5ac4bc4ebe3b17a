"""Core AI: model assets for Apple's systems from 27 on, run by Apple's own runtime there and, on the CPU, on Linux."""

from __future__ import annotations

from mobilevit_tools.targets._base import Package, Target
from mobilevit_tools.targets.precisions import FLOATING

_EXTRA = "coreai"

TARGET = Target(
    name="coreai",
    title="Core AI",
    suffixes=(".aimodel",),
    folders=(".aimodel",),
    precisions=FLOATING,
    packages=(
        Package("coreai-torch", "exporting to Core AI", ("0.4.3",), extra=_EXTRA, module="coreai_torch"),
        Package("coreai-core", "running Core AI's artifacts", ("1.0.0b3",), extra=_EXTRA, module="coreai"),
    ),
    exporting=("coreai_torch",),
    running="coreai",
    exporter="mobilevit_tools.exporters.coreai",
    runtime="mobilevit_tools.runtimes.coreai",
    native_runtime=True,
    runs_apart=True,  # a beta, and Swift beside everything else that is loaded
    own_systems=("darwin",),
    own_threads=True,
    weights="mobilevit_tools.comparison.coreai:read_weights",
    summary="export; runs in Apple's runtime, on the CPU only on other systems",
    pairs=(("torch", "coreai-torch"), ("coreai-core", "coreai-torch")),
)
