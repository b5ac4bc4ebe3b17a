"""ncnn, Tencent's inference library for phones: a folder with the two files that it loads, converted by pnnx."""

from __future__ import annotations

from dataclasses import dataclass

from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets._base import Package, Target, TargetOptions
from mobilevit_tools.targets.precisions import FLOATING

_EXTRA = "ncnn"


@dataclass(frozen=True)
class NcnnOptions(TargetOptions):
    """ncnn has no options; it has no batches either."""

    def check(self, *, precision: str, batch: int) -> None:  # noqa: ARG002
        """Refuse a batch."""
        if batch != 1:
            raise UsageError(f"ncnn runs one image at a time, not {batch}.", hint="Omit --batch.")


TARGET = Target(
    name="ncnn",
    title="ncnn",
    suffixes=(".ncnn",),
    folders=(".ncnn",),
    precisions=FLOATING,
    packages=(
        Package("pnnx", "exporting to ncnn", ("20261020",), extra=_EXTRA),
        Package("ncnn", "running ncnn's artifacts", ("1.0.20261020",), extra=_EXTRA),
    ),
    exporting=("pnnx",),
    running="ncnn",
    exporter="mobilevit_tools.exporters.ncnn",
    runtime="mobilevit_tools.runtimes.ncnn",
    native_runtime=True,
    runs_apart=True,  # it crashes on some of what its own converter makes
    weights="mobilevit_tools.comparison.ncnn:read_weights",
    summary="export, and run in ncnn on the CPU",
    options=NcnnOptions,
    pairs=(("pnnx", "ncnn"),),
)
