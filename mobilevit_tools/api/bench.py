"""Measure what the deployment rewrites are worth: each model with and without them, in turns."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.api.description import contract_of
from mobilevit_tools.api.given import model_names
from mobilevit_tools.api.profile import compare
from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec, load_exporter
from mobilevit_tools.models.factory import LoadedModel, load_model
from mobilevit_tools.models.names import has_bundled_weights
from mobilevit_tools.process_state import restoring
from mobilevit_tools.profiling.host import DEVICE, latency_spec
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.result import Result
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.several import several
from mobilevit_tools.targets.registry import STANDARD, find_target, host_targets

DEVICES = (DEVICE, "count")
EVERYTHING = "all rewrites"


@dataclass(frozen=True)
class RewriteGain:
    """One comparison: ``measured.a`` lacks the rewrite, ``measured.b`` has it.

    Attributes:
        model: The model.
        deployment: The target, and its backend where it has several.
        device: Where both were measured: ``host`` in milliseconds, ``count`` in instructions.
        threads: Threads of one inference.
        rewrite: The rewrite that only ``b`` has; ``all rewrites`` where ``a`` has none.
        measured: Both measurements and the verdict on ``b``; None where both are the same bytes, because the rewrites
            find nothing that the target would not do itself.
    """

    model: str
    deployment: str
    device: str
    threads: int
    rewrite: str
    measured: ComparisonResult | None


@dataclass(frozen=True, repr=False)
class BenchResult(Result, command="bench rewrites"):
    """All comparisons of one call.

    Attributes:
        gains: The comparisons, in the order in which they were made.
    """

    gains: tuple[RewriteGain, ...]


@restoring
def bench_rewrites(
    models: str | Sequence[str],
    *,
    targets: str | Sequence[str] | None = None,
    devices: str | Sequence[str] = (DEVICE,),
    threads: int | Sequence[int] = (1,),
    input_size: tuple[int, int] | None = None,
    rigor: str = "default",
    each: bool = False,
    progress: Progress = silent,
) -> BenchResult:
    """Measure each model with its target's default rewrites against its plain lowering, in float32.

    Speed does not depend on the weights, so that models without bundled ones get random weights.

    Args:
        models: Models, as ``mvt models`` lists them.
        targets: Targets; by default all that have a latency on this machine.
        devices: ``host``, ``count`` or both.
        threads: Thread counts; each is measured. ``count`` has a single thread: beside ``host`` it is measured once,
            with one.
        input_size: Height and width; by default the model's own.
        rigor: A preset of the latency protocol.
        each: Also measure the default set against itself less one rewrite, for every rewrite that found something.
        progress: Told of every step.

    Raises:
        UsageError: A target cannot be measured on this machine, there is no such rigor or device, or ``count`` alone
            is to take several threads.
        BadInputError: There is no such model.
        DeviceError: A device is not ready.

    Example:
        >>> try:
        ...     mvt.bench_rewrites(["care_s0"], rigor="thorough")
        ... except mvt.UsageError as error:
        ...     print(error.message, error.hint)
        There is no rigor 'thorough'. Choose from default, quick, mlperf.
    """
    latency_spec(rigor)
    targets = [each for each in host_targets() if each in STANDARD] if targets is None else targets
    models = model_names(models, "bench_rewrites")
    models, targets, devices = (tuple(dict.fromkeys(several(each))) for each in (models, targets, devices))
    threads = tuple(dict.fromkeys(several(threads)))
    for device in devices:
        if device not in DEVICES:
            raise UsageError(f"Rewrites are not measured on {device!r}.", hint=f"Give {' or '.join(DEVICES)}.")
    many = [count for count in threads if count != 1]
    if devices == ("count",) and many:
        raise UsageError(f"The count device runs one thread, not {many[0]}.", hint="Omit --threads, or pass 1.")
    for target in targets:
        if not find_target(target).runs_here:
            raise UsageError(f"{target} cannot be timed on this host.", hint=f"Give {' or '.join(host_targets())}.")
    gains = []
    for name in models:
        with progress(f"Loading {name}"):
            tagged = has_bundled_weights(name)
            loaded = load_model(name, random_weights=not tagged, input_size=input_size)
        for target in targets:
            spec = ExportSpec(target)
            with TemporaryDirectory() as folder:
                for rewrite, without, full in _artifacts(loaded, spec, Path(folder), each=each, progress=progress):
                    same = filecmp.cmp(without, full, shallow=False)
                    for device in devices:
                        for count in threads if device == DEVICE else (1,):
                            measured = (
                                None
                                if same
                                else compare(
                                    without, full, device=device, threads=count, rigor=rigor, progress=progress
                                )
                            )
                            gains.append(RewriteGain(name, spec.deployment, device, count, rewrite, measured))
    return BenchResult(tuple(gains))


def _artifacts(
    loaded: LoadedModel, spec: ExportSpec, folder: Path, *, each: bool, progress: Progress
) -> Iterator[tuple[str, Path, Path]]:
    """Yield a rewrite's name, an artifact without it and the fully rewritten one."""
    suffix = find_target(spec.target).suffix

    def lower(label: str, names: Sequence[str] | None) -> tuple[Path, tuple[AppliedRewrite, ...]]:
        with progress(f"Converting {loaded.name} to {spec.deployment}, {label}"):
            path = folder / f"{label.replace(' ', '-')}{suffix}"
            return path, _lower(loaded, spec, names, path)

    full, applied = lower("rewritten", None)
    yield EVERYTHING, lower("plain", ())[0], full
    names = [rewrite.name for rewrite in applied]
    for name in names if each else ():
        yield name, lower(f"without {name}", [other for other in names if other != name])[0], full


def _lower(
    loaded: LoadedModel, spec: ExportSpec, names: Sequence[str] | None, path: Path
) -> tuple[AppliedRewrite, ...]:
    from mobilevit_tools.exporters.io_names import example_input
    from mobilevit_tools.rewrites._base import apply

    contract = contract_of(loaded, spec)
    example = example_input(contract, spec.batch)
    rewritten = apply(loaded.module, example, deployment=spec.deployment, names=names)
    load_exporter(spec.target).lower(rewritten.module, spec, contract, path, None)
    return rewritten.applied
