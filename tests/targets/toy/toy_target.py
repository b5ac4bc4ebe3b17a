"""A target of another package: PyTorch's own exported programs, in three files."""

from __future__ import annotations

from dataclasses import dataclass

from mobilevit_tools.targets._base import Package, Target, TargetOptions, option


@dataclass(frozen=True)
class ToyOptions(TargetOptions):
    """What only this target takes."""

    flavour: str = option("plain", "how it tastes.")


TARGET = Target(
    name="toy",
    title="Toy",
    suffixes=(".toy",),
    precisions=("fp32",),
    packages=(Package("toy-target", "exporting to Toy", ("1.",)),),
    exporting=("torch",),
    running="torch",
    exporter="toy_exporter",
    runtime="toy_runtime",
    weights="toy_runtime:read_weights",
    summary="export; runs in PyTorch",
    options=ToyOptions,
)
