"""How many compact vision models convert, how exactly, how far they are delegated and how much faster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.api.own_lowering import own_lowering
from mobilevit_tools.api.profile import compare
from mobilevit_tools.artifacts.versions import tool_versions
from mobilevit_tools.errors import MvtError, UsageError
from mobilevit_tools.input_size import Size, as_size, size_text
from mobilevit_tools.matrix.aside import without_artifact
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.matrix.run import run_cell
from mobilevit_tools.models.known import check_known
from mobilevit_tools.models.names import has_bundled_weights
from mobilevit_tools.models.options import OptionValue, parse_options
from mobilevit_tools.models.references import is_file_reference
from mobilevit_tools.process_state import restoring
from mobilevit_tools.profiling.host import DEVICE, latency_spec
from mobilevit_tools.profiling.result import ComparisonResult
from mobilevit_tools.progress import Progress, counted, silent
from mobilevit_tools.quantization._base import check_calibrated
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE
from mobilevit_tools.result import Result
from mobilevit_tools.several import several
from mobilevit_tools.targets.precisions import PRECISIONS
from mobilevit_tools.targets.registry import STANDARD, find_target, named_targets
from mobilevit_tools.wording import number_of

TIMEOUT_S = 900.0
ZOO = (
    "timm:convnextv2_atto",
    "timm:deit_tiny_patch16_224",
    "timm:edgenext_xx_small",
    "timm:efficientformer_l1",
    "timm:efficientformerv2_s0",
    "timm:efficientnet_b0",
    "timm:efficientnet_lite0",
    "timm:efficientvit_b0",
    "timm:efficientvit_m0",
    "timm:fastvit_t8",
    "timm:fbnetv3_b",
    "timm:ghostnetv2_100",
    "timm:ghostnetv3_100",
    "timm:hardcorenas_a",
    "timm:lcnet_050",
    "timm:levit_128s",
    "timm:mnasnet_100",
    "timm:mobilenet_edgetpu_100",
    "timm:mobilenetv1_100",
    "timm:mobilenetv2_100",
    "timm:mobilenetv3_small_100",
    "timm:mobilenetv4_conv_small",
    "timm:mobilenetv4_hybrid_medium",
    "timm:mobileone_s0",
    "timm:mobilevit_xxs",
    "timm:mobilevitv2_050",
    "timm:poolformer_s12",
    "timm:pvt_v2_b0",
    "timm:regnetx_002",
    "timm:regnety_002",
    "timm:repghostnet_050",
    "timm:repvgg_a0",
    "timm:repvit_m0_9",
    "timm:resnet18",
    "timm:resnet26t",
    "timm:semnasnet_075",
    "timm:shvit_s1",
    "timm:spnasnet_100",
    "timm:starnet_s1",
    "timm:swiftformer_xs",
    "timm:swin_tiny_patch4_window7_224",
    "timm:swinv2_tiny_window8_256",
    "timm:tf_efficientnet_lite0",
    "timm:tiny_vit_5m_224",
    "timm:tinynet_e",
    "timm:vit_small_patch14_dinov2",
    "timm:vit_tiny_patch16_224",
    "timm:xcit_nano_12_p16_224",
)
"""Models for phones in timm: convolutions, attention and both; what `mvt bench zoo` measures by default."""


@dataclass(frozen=True)
class ZooRow:
    """One model on one target.

    Attributes:
        result: What came of its export, as ``mvt smoke`` tells of it.
        speed: Both latencies and the verdict: ``a`` is what the target's own tools make of the model in float32, ``b``
            is ours. None where that was not asked for, is not measured on this machine, or one of the two did not
            convert or cannot be run.
    """

    result: CellResult
    speed: ComparisonResult | None = None

    @property
    def macs_share(self) -> float | None:
        """The share of the multiply-accumulates that the target's backend does; None where nobody knows."""
        made = self.result.artifact
        return made.delegation.macs_share if made is not None and made.delegation is not None else None

    @property
    def quantized_share(self) -> float | None:
        """The share of the weights that is in 8 bits or fewer; None in floating point and where nobody knows."""
        made = self.result.artifact
        return made.quantized.weights if made is not None and made.quantized is not None else None


@dataclass(frozen=True)
class PassRate:
    """How many models pass on one target in one precision.

    Attributes:
        passed: Models whose artifact passed its gates.
        models: Models that were tried.
    """

    passed: int
    models: int


@dataclass(frozen=True, repr=False)
class ZooResult(Result, command="bench zoo"):
    """All models on all targets.

    Attributes:
        rows: One for each model, target and precision, model by model.
        rates: By target and precision, such as ``onnx-int8``, how many passed.
        tools: Versions of the tools.
        seconds: How long all of it took.
    """

    rows: tuple[ZooRow, ...]
    rates: Mapping[str, PassRate]
    tools: Mapping[str, str]
    seconds: float


@restoring
def bench_zoo(
    models: str | Sequence[str] = ZOO,
    *,
    targets: str | Sequence[str] = STANDARD,
    precisions: str | Sequence[str] = ("fp32",),
    calibration: str | Path | None = None,
    calibration_size: int = DEFAULT_SIZE,
    input_size: Size | None = None,
    options: str | Sequence[str] = (),
    latency: bool = False,
    rigor: str = "quick",
    timeout_s: float = TIMEOUT_S,
    progress: Progress = silent,
) -> ZooResult:
    """Export and verify models, each in a process of its own, and count what passes.

    A model of a source, or an architecture of this project without a tag, gets settled random weights
    (:mod:`mobilevit_tools.models.settled`): no network is needed, and parity still means something. A file's function
    brings its own.

    Args:
        models: Models, as ``mvt export`` takes them; by default compact ones of timm.
        targets: Export targets.
        precisions: Precisions; those that a target lacks are left out.
        calibration: A folder of photos for precisions that are calibrated.
        calibration_size: How many of them to use.
        input_size: ``224``, or height and width in pixels; by default each model's own.
        options: Options of the models' builders, each ``name=value``.
        latency: Also measure each artifact against the target's own lowering, one thread, in turns.
        rigor: The latency protocol's preset.
        timeout_s: Time limit of one export.
        progress: Told of every step.

    Raises:
        BadInputError: There is no model or file of a name.
        MissingDependencyError: The package that a source of models needs is not installed.
        UsageError: There is no model, no such target, precision or rigor, a name that can be no model's, what is no
            option, or photos are missing or not needed.

    Example:
        >>> try:
        ...     mvt.bench_zoo(["timm:resnet18"], targets=["tpu"])
        ... except mvt.UsageError as error:
        ...     print(error.message)
        There is no target named 'tpu'.
    """
    started = time.perf_counter()
    latency_spec(rigor)
    if not 0 < timeout_s < float("inf"):
        raise UsageError(f"The time limit of an export must be above 0, not {timeout_s:g} s.")
    models = tuple(dict.fromkeys(several(models)))
    if not models:
        raise UsageError("Pass at least one model.")
    size, pairs = as_size(input_size), several(options)
    parsed = parse_options(pairs)
    kinds = _kinds(
        several(targets),
        several(precisions),
        calibration=None if calibration is None else str(calibration),
        calibration_size=calibration_size,
        input_size=size,
        options=pairs,
    )
    for model in models:  # before hours of work are lost
        replace(kinds[0], model=model)
        check_known(model)
    rows: list[ZooRow] = []
    for model in counted(progress, f"Exporting {number_of(len(models), 'models')}", models, len(models)):
        with TemporaryDirectory(prefix="mvt-zoo-", ignore_cleanup_errors=True) as folder:
            with progress(f"Drawing weights of {model}"):
                checkpoint = _settled(model, Path(folder, "settled.safetensors"), size, parsed)
            random = checkpoint is None and not has_bundled_weights(model)
            for kind in kinds:
                cell = replace(kind, model=model, checkpoint=checkpoint, random_weights=random)
                with progress(f"[{len(rows) + 1}/{len(models) * len(kinds)}] {cell.name}"):
                    rows.append(_row(cell, Path(folder), latency=latency, rigor=rigor, timeout_s=timeout_s))
    found = [row.result for row in rows]
    return ZooResult(
        rows=tuple(rows),
        rates={
            kind.spec.variant: PassRate(
                sum(each.status == "passed" for each in found if each.cell.spec.variant == kind.spec.variant),
                len(models),
            )
            for kind in kinds
        },
        tools=tool_versions(),
        seconds=round(time.perf_counter() - started, 3),
    )


def _kinds(
    targets: Sequence[str],
    precisions: Sequence[str],
    *,
    calibration: str | None,
    calibration_size: int,
    input_size: tuple[int, int] | None,
    options: tuple[str, ...],
) -> tuple[Cell, ...]:
    """Return a cell of no particular model for each precision that each target has."""
    if unknown := set(precisions) - set(PRECISIONS):
        raise UsageError(
            f"There is no precision named {', '.join(sorted(unknown))}.", hint=f"There are {', '.join(PRECISIONS)}."
        )
    check_calibrated(precisions, calibration=calibration)
    measured = [each for each in precisions if PRECISIONS[each].calibrated]
    if measured and calibration is None:
        raise UsageError(f"{measured[0]} requires calibration photos.", hint="Pass --calibration DIR.")
    kinds = tuple(
        Cell(
            model=ZOO[0],
            target=target,
            precision=precision,
            calibration=calibration if PRECISIONS[precision].calibrated else None,
            calibration_size=calibration_size if PRECISIONS[precision].calibrated else None,
            input_size=size_text(input_size),
            options=options,
            random_weights=True,
        )
        for target in named_targets(targets)
        for precision in dict.fromkeys(precisions)
        if precision in find_target(target).precisions
    )
    if not kinds:
        raise UsageError(f"None of {', '.join(targets)} has {' or '.join(precisions)}.")
    return kinds


def _settled(
    model: str, path: Path, input_size: tuple[int, int] | None, options: Mapping[str, OptionValue]
) -> str | None:
    """Write weights for a model; None where it brings its own or fails: its export tells how."""
    from mobilevit_tools.models.settled import write_settled

    if is_file_reference(model) or has_bundled_weights(model):
        return None
    try:
        write_settled(model, path, input_size=input_size, options=options)
    except Exception:  # what others wrote can raise anything, and is one row of many
        return None
    return str(path)


def _row(cell: Cell, folder: Path, *, latency: bool, rigor: str, timeout_s: float) -> ZooRow:
    ours = folder / cell.spec.variant
    result = run_cell(cell, ours, timeout_s=timeout_s)
    speed = None
    if latency and result.artifact is not None and find_target(cell.target).runs_here:
        plain = own_lowering(cell, folder / f"{cell.spec.variant}-own", timeout_s=timeout_s)
        if plain is not None:
            with suppress(MvtError):  # an artifact that does not load is no reason to lose the other rows
                speed = compare(plain, result.artifact.path, device=DEVICE, threads=1, rigor=rigor)
    return ZooRow(without_artifact(result, ours), speed)
