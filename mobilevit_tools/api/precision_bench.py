"""Measure what every precision of every target costs and saves: size, accuracy, latency, instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mobilevit_tools.api.evaluate import evaluate
from mobilevit_tools.api.export import export
from mobilevit_tools.api.given import model_names
from mobilevit_tools.api.profile import compare, profile
from mobilevit_tools.artifacts.exported import ExportedArtifact, ExportResult
from mobilevit_tools.errors import GateError, UsageError
from mobilevit_tools.process_state import restoring
from mobilevit_tools.profiling.host import latency_spec
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE
from mobilevit_tools.result import Result
from mobilevit_tools.several import several
from mobilevit_tools.targets.precisions import PRECISIONS
from mobilevit_tools.targets.registry import STANDARD, find_target, named_targets
from mobilevit_tools.verification.evaluations import EvalResult

if TYPE_CHECKING:
    from mobilevit_tools.data.class_order import ClassOrder

BASELINE = "fp32"


@dataclass(frozen=True)
class PrecisionRow:
    """One artifact, measured.

    Attributes:
        artifact: The artifact: its size and how far it is from the model.
        accuracy: What it recognises of the labelled photos.
        size_ratio: Its size over that of the target's fp32 artifact.
        speed: The target's fp32 artifact (``a``) against this one (``b``), in turns on this machine; None where the
            target does not run here. Of fp32 it shows how well this machine repeats itself.
        instructions: Instructions of one inference; None where they were not counted, or where the counted processor,
            which lacks this one's vector extensions, computes something else.
    """

    artifact: ExportedArtifact
    accuracy: EvalResult
    size_ratio: float
    speed: ComparisonResult | None
    instructions: int | None


@dataclass(frozen=True, repr=False)
class PrecisionBench(Result, command="bench precisions"):
    """All precisions of all targets that were asked for.

    Attributes:
        model: The model.
        rows: The artifacts, by target, fp32 first.
    """

    model: str
    rows: tuple[PrecisionRow, ...]


@restoring
def bench_precisions(
    model: str,
    *,
    calibration: str | Path,
    eval_data: str | Path,
    class_order: ClassOrder | None = None,
    checkpoint: str | Path | None = None,
    calibration_size: int = DEFAULT_SIZE,
    targets: str | Sequence[str] = STANDARD,
    precisions: str | Sequence[str] | None = None,
    threads: int = 1,
    rigor: str = "default",
    count: bool = False,
    progress: Progress = silent,
) -> PrecisionBench:
    """Export a model in each precision of each target, and measure every artifact. A failed gate is a result, too.

    Args:
        model: The model.
        calibration: Photos to measure activations on.
        eval_data: Labelled photos, others than those.
        class_order: How folders of theirs without labels' names are classes: ``index``, ``text`` or ``natural``.
        checkpoint: The model's weights; by default the bundled ones.
        calibration_size: How many photos to calibrate on.
        targets: The targets.
        precisions: The precisions, fp32 beside them always; those that a target lacks are left out. By default all.
        threads: Threads of one inference.
        rigor: A preset of the latency protocol.
        count: Also count instructions with the native runner.
        progress: Told of every step.

    Raises:
        UsageError: There is no such target, precision or rigor.
        BadInputError: The model's weights or the photos cannot be used.
        DeviceError: ``count`` is asked for and not ready.

    Example:
        >>> try:
        ...     mvt.bench_precisions("care_s0", calibration="photos", eval_data="photos", precisions=["int3"])
        ... except mvt.UsageError as error:
        ...     print(error.message)
        There is no precision named int3.
    """
    (model,) = model_names(model, "bench_precisions")
    latency_spec(rigor)
    wanted = tuple(PRECISIONS) if precisions is None else (BASELINE, *several(precisions))
    if unknown := set(wanted) - set(PRECISIONS):
        raise UsageError(
            f"There is no precision named {', '.join(sorted(unknown))}.", hint=f"There are {', '.join(PRECISIONS)}."
        )
    names = named_targets(targets)
    rows: list[PrecisionRow] = []
    with TemporaryDirectory(prefix="mvt-bench-") as folder:
        for target in names:
            fp32: ExportedArtifact | None = None
            for precision in (each for each in find_target(target).precisions if each in wanted):
                artifact = _export(
                    model,
                    target=target,
                    precision=precision,
                    output=Path(folder),
                    checkpoint=checkpoint,
                    calibration=calibration if PRECISIONS[precision].takes_photos else None,
                    calibration_size=calibration_size,
                    progress=progress,
                )
                fp32 = fp32 or artifact
                accuracy = _evaluate(
                    artifact.path,
                    eval_data,
                    class_order=class_order,
                    checkpoint=checkpoint,
                    threads=threads,
                    progress=progress,
                )
                speed = instructions = None
                if find_target(target).runs_here:
                    speed = compare(fp32.path, artifact.path, threads=threads, rigor=rigor, progress=progress)
                    if count:
                        instructions = _instructions(artifact, progress)
                rows.append(
                    PrecisionRow(artifact, accuracy, artifact.size_bytes / fp32.size_bytes, speed, instructions)
                )
    return PrecisionBench(model, tuple(rows))


def _evaluate(artifact: Path, eval_data: str | Path, **settings: Any) -> EvalResult:
    try:
        result = evaluate(artifact, eval_data, **settings)
    except GateError as error:  # of a failed precision, too, the table says how far it is off
        if not isinstance(error.result, EvalResult):
            raise
        return error.result
    if not isinstance(result, EvalResult):
        raise UsageError("This table reports classification accuracy, and this model is not a classifier.")
    return result


def _instructions(artifact: ExportedArtifact, progress: Progress) -> int | None:
    try:
        return profile(artifact.path, device="count", progress=progress).instructions
    except GateError:
        return None


def _export(
    model: str,
    *,
    target: str,
    precision: str,
    output: Path,
    checkpoint: str | Path | None,
    calibration: str | Path | None,
    calibration_size: int,
    progress: Progress,
) -> ExportedArtifact:
    try:
        result = export(
            model,
            targets=target,
            precision=precision,
            output=output,
            checkpoint=checkpoint,
            calibration=calibration,
            calibration_size=None if calibration is None else calibration_size,
            keep_failed=True,
            progress=progress,
        )
    except GateError as error:
        if not isinstance(error.result, ExportResult):
            raise
        result = error.result
    return result.artifacts[0]
