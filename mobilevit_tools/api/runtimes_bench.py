"""Compare runtimes on the same models: size, parity, delegation and latency, each against one of them in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.api.export import export
from mobilevit_tools.api.given import model_names
from mobilevit_tools.api.profile import compare
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.versions import tool_versions
from mobilevit_tools.errors import MvtError, UsageError
from mobilevit_tools.models.known import check_known
from mobilevit_tools.models.names import has_bundled_weights
from mobilevit_tools.process_state import restoring
from mobilevit_tools.profiling.host import latency_spec
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.result import Result
from mobilevit_tools.targets.registry import STANDARD, TARGETS, find_target, named_targets


@dataclass(frozen=True)
class RuntimeRow:
    """One model on one runtime.

    Attributes:
        model: The model.
        deployment: The target, and its backend where it has several.
        artifact: What was exported, with its parity and delegation; None where nothing was.
        measured: The reference's artifact and this one, in turns; None for the reference itself, or without a latency.
        reason: Why there is no artifact, or no latency; None where there is nothing to say.
        is_reference: Whether the others are measured against this one.
    """

    model: str
    deployment: str
    artifact: ExportedArtifact | None
    measured: ComparisonResult | None
    reason: str | None
    is_reference: bool


@dataclass(frozen=True, repr=False)
class RuntimesBench(Result, command="bench runtimes"):
    """The same models on several runtimes.

    Attributes:
        reference: The target against which latency was measured.
        rows: One for each model and target, model by model.
        missing: Targets that this installation cannot export to or run, and the command that changes that.
        tools: Versions of the tools.
    """

    reference: str
    rows: tuple[RuntimeRow, ...]
    missing: Mapping[str, str]
    tools: Mapping[str, str]


@restoring
def bench_runtimes(
    models: str | Sequence[str],
    *,
    targets: str | Sequence[str] = tuple(TARGETS),
    reference: str = STANDARD[0],
    precision: str = "fp32",
    threads: int = 1,
    rigor: str = "default",
    progress: Progress = silent,
) -> RuntimesBench:
    """Export each model to every target that is installed, verify it, and measure it in turns with one of them.

    Packages of several targets exclude each other. Called in an environment for each of them, the tables have the
    reference in common, so that their ratios can stand beside each other.

    Args:
        models: Models, as ``mvt export`` takes them. Those without bundled weights get random ones.
        targets: Targets; those whose packages are missing are told of, not measured.
        reference: The target that the others are measured against.
        precision: A precision of all of them.
        threads: Threads of one inference.
        rigor: A preset of the latency protocol.
        progress: Told of every step.

    Raises:
        UsageError: There is no such target, precision or rigor, or the reference has no latency on this machine.
        MissingDependencyError: The reference's packages are not installed.
        BadInputError: There is no such model.

    Example:
        >>> try:
        ...     mvt.bench_runtimes(["care_s0"], reference="coreml")
        ... except mvt.UsageError as error:
        ...     print(error.message)
        coreml has no latency on this host, so nothing can be measured against it.
    """
    latency_spec(rigor)
    if not find_target(reference).runs_here:
        raise UsageError(f"{reference} has no latency on this host, so nothing can be measured against it.")
    names = dict.fromkeys((reference, *named_targets(targets)))
    missing = {
        name: find_target(name).install(lacking[0])
        for name in names
        if name != reference and (lacking := find_target(name).missing())
    }
    present = [name for name in names if name not in missing]
    asked = dict.fromkeys(model_names(models, "bench_runtimes"))
    for model in asked:
        check_known(model)
    rows: list[RuntimeRow] = []
    for model in asked:
        with TemporaryDirectory(prefix="mvt-bench-") as folder:
            rows += _rows(
                model, present, Path(folder), precision=precision, threads=threads, rigor=rigor, progress=progress
            )
    return RuntimesBench(reference, tuple(rows), missing, tool_versions())


def _rows(
    model: str, targets: Sequence[str], folder: Path, *, precision: str, threads: int, rigor: str, progress: Progress
) -> list[RuntimeRow]:
    """Return a model's rows; the first target is the reference."""
    made: dict[str, ExportedArtifact | None] = {}
    rows = []
    for target in targets:
        artifact, reason = _export(model, target, precision, folder, progress)
        made[target] = artifact
        base = made[targets[0]]
        measured = None
        if base is not None and artifact is not None and artifact is not base:
            try:
                measured = compare(base.path, artifact.path, threads=threads, rigor=rigor, progress=progress)
            except MvtError as error:
                reason = error.message
        deployment = find_target(target).deployments[0]
        rows.append(RuntimeRow(model, deployment, artifact, measured, reason, target == targets[0]))
    return rows


def _export(
    model: str, target: str, precision: str, folder: Path, progress: Progress
) -> tuple[ExportedArtifact | None, str | None]:
    trained = has_bundled_weights(model)
    try:
        (artifact,) = export(
            model,
            targets=target,
            precision=precision,
            random_weights=not trained,
            output=folder,
            progress=progress,
        ).artifacts
    except UsageError:
        raise
    except MvtError as error:
        return None, error.message
    return artifact, None
