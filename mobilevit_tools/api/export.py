"""Export a model: lower it, prove the artifact against the model, describe it, and only then move it into place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.decisions import count_flips
from mobilevit_tools.api.description import contract_of, describe_model
from mobilevit_tools.api.trade import AccuracyBound, accuracy_bound, keep_within
from mobilevit_tools.data.labels import check_label_count
from mobilevit_tools.errors import GateError
from mobilevit_tools.exporters._base import Delegation, ExportSpec, check_packages, load_exporter, naming_refusals
from mobilevit_tools.exporters.manifest import Manifest, ModelRecord, describe_artifact, tool_versions
from mobilevit_tools.exporters.registry import find_target, named_targets
from mobilevit_tools.exporters.specs import make_specs
from mobilevit_tools.exporters.staging import check_destination, staged_folder
from mobilevit_tools.models.factory import LoadedModel, load_model
from mobilevit_tools.models.options import OptionValue
from mobilevit_tools.models.own import folder_name
from mobilevit_tools.precision.record import Preflight
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.quantization._base import Quantization, QuantizationRecord, check_calibrated, plan_quantization
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE, load_calibration
from mobilevit_tools.quantization.precisions import PRECISIONS
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.rewrites.registry import select_rewrites
from mobilevit_tools.runtimes.registry import RUNTIMES, open_session
from mobilevit_tools.verification.parity import Parity, torch_reference, verify_session
from mobilevit_tools.verification.tolerances import GATES

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mobilevit_tools.rewrites._base import Rewritten


@dataclass(frozen=True)
class ExportedArtifact:
    """One finished artifact.

    Attributes:
        target: Its target.
        backend: Its backend; None where the target has no choice.
        precision: Its precision.
        path: Where it is; where a failed one would have been, if it was not kept.
        manifest: Where its manifest is.
        bundle: Where its golden bundle is; None where none was asked for.
        size_bytes: Its size.
        params: Parameters of the model as its authors wrote it.
        macs: Multiply-accumulates of one image.
        parity: How right it is.
        delegation: How much its backend took over; None where that does not apply.
        rewrites: The deployment rewrites that were applied, in order.
        rewrite_difference: How far they moved the outputs in float64, as a share of the largest.
        quantization: How it was quantized; None where it is in floating point.
        preflight: What half precision does to the model, and what stays in float32 for it; None in float32.
        seconds: How long it took, by step, in ``other`` and in ``total``.
        kept: Whether the artifact is on disk.
    """

    target: str
    backend: str | None
    precision: str
    path: Path
    manifest: Path
    bundle: Path | None
    size_bytes: int
    params: int
    macs: int
    parity: Parity
    delegation: Delegation | None
    rewrites: tuple[AppliedRewrite, ...]
    rewrite_difference: float
    quantization: QuantizationRecord | None
    preflight: Preflight | None
    seconds: Mapping[str, float]
    kept: bool


@dataclass(frozen=True)
class ExportResult:
    """All artifacts of one call, in the order of its targets.

    Attributes:
        model: The model's name.
        random_weights: Whether the weights are random.
        ema: Whether the checkpoint's moving average was taken; None where it holds a single set.
        artifacts: The artifacts.
    """

    model: str
    random_weights: bool
    ema: bool | None
    artifacts: tuple[ExportedArtifact, ...]


@dataclass
class _Clock:
    """Seconds by step, and progress to whoever watches."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        """Time a step, without the steps inside it."""
        started, others = time.perf_counter(), sum(self.seconds.values())
        with self.progress(text):
            yield
        inside = sum(self.seconds.values()) - others
        self.seconds[name] = round(time.perf_counter() - started - inside, 3)

    def whole(self) -> dict[str, float]:
        """Return the seconds by step, with what no step has and their sum."""
        total = round(time.perf_counter() - self.started, 3)
        return {**self.seconds, "other": round(total - sum(self.seconds.values()), 3), "total": total}


def export(
    model: str,
    *,
    targets: str | Sequence[str] = "all",
    output: str | Path = "out",
    checkpoint: str | Path | None = None,
    ema: bool | None = None,
    random_weights: bool = False,
    num_classes: int | None = None,
    labels: Sequence[str] | None = None,
    input_size: tuple[int, int] | None = None,
    backend: str | None = None,
    precision: str = "fp32",
    batch: int = 1,
    dynamic_batch: bool = False,
    tensor_io: bool = False,
    deployment_target: str | None = None,
    opset: int | None = None,
    rewrites: Sequence[str] | None = None,
    fp16_keep: Sequence[str] | None = None,
    calibration: str | Path | None = None,
    calibration_size: int | None = None,
    calibration_method: str | None = None,
    max_drop: float | None = None,
    eval_data: str | Path | None = None,
    images: Sequence[Path] | None = None,
    options: Mapping[str, OptionValue] | None = None,
    overwrite: bool = False,
    keep_failed: bool = False,
    bundle: bool = False,
    command: str | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Export ``model`` to one or more targets and verify every artifact.

    Args:
        model: ``arch`` or ``arch.tag``, as ``mvt models`` lists them.
        targets: Target names, or ``all``.
        output: The folder that receives ``MODEL/TARGET-BACKEND-PRECISION/``.
        checkpoint: A path or ``hf://owner/repo/file``.
        ema: Take the checkpoint's moving average (True), its raw weights (False), or the average if there (None).
        random_weights: Allow random weights; the manifest says so.
        num_classes: The class count; by default the checkpoint's.
        labels: Class names in index order.
        input_size: Height and width in pixels; by default the model's own.
        backend: The ExecuTorch backend.
        precision: A precision of the target; see :mod:`mobilevit_tools.quantization.precisions`.
        batch: Images per inference.
        dynamic_batch: ONNX: leave the batch dimension free.
        tensor_io: Core ML: a normalised tensor in and logits out.
        deployment_target: Core ML: the oldest system to support; by default iOS17.
        opset: ONNX: the operator set; by default 20.
        rewrites: Names of the deployment rewrites to apply; by default those of the target, empty for none.
        fp16_keep: Half precision: operators or modules to keep in float32; by default the least that meets the gate.
        calibration: A folder of photos on which ``int8`` measures the ranges of activations.
        calibration_size: How many of them to use; by default 200.
        calibration_method: How measured values become ranges; by default what suits the target.
        max_drop: Points of top-1 that a quantized artifact may lose on ``eval_data``; the fewest operators that this
            needs are kept in floating point.
        eval_data: Labelled photos, as :func:`mobilevit_tools.evaluate` takes them.
        images: Photos to verify with, of more than 256 as many, evenly chosen; by default the bundled ones.
        options: Options of the model's builder.
        overwrite: Replace artifacts that are there.
        keep_failed: Keep an artifact that failed its gate, marked as failed in its manifest.
        bundle: Write a golden bundle beside each artifact: an input, its expected output, and an app's code for both.
        command: Recorded in the manifest.
        progress: Told of every step.

    Raises:
        UsageError: The arguments contradict each other, a target cannot do what was asked, or no target takes it.
        BadInputError: The model, checkpoint, labels, photos or destination cannot be used.
        MissingDependencyError: A package that one of the targets needs is not installed.
        GateError: An artifact does not compute the model; ``result`` holds the :class:`ExportResult`.
    """
    if rewrites is not None:
        select_rewrites(rewrites)
    names = named_targets([targets] if isinstance(targets, str) else targets)
    specs = make_specs(
        names,
        backend=backend,
        precision=precision,
        batch=batch,
        dynamic_batch=dynamic_batch,
        tensor_io=tensor_io,
        deployment_target=deployment_target,
        opset=opset,
        rewrites=None if rewrites is None else tuple(rewrites),
        fp16_keep=None if fp16_keep is None else tuple(fp16_keep),
    )
    check_calibrated(
        [precision],
        calibration=calibration,
        calibration_size=calibration_size,
        calibration_method=calibration_method,
    )
    bound = accuracy_bound(max_drop, eval_data, precision)
    finals = [Path(output) / folder_name(model) / spec.variant for spec in specs]
    for final in finals:
        check_destination(final, overwrite=overwrite)
    for spec in specs:
        check_packages(spec.target, RUNTIMES[find_target(spec.target).suffix].package)
        if calibration is None:
            plan_quantization(spec.target, spec.precision, None)
    with progress(f"Loading {model}"):
        loaded = load_model(
            model,
            num_classes=num_classes,
            checkpoint=checkpoint,
            ema=ema,
            random_weights=random_weights,
            input_size=input_size,
            options=options,
        )
    if labels is not None:
        loaded = replace(loaded, labels=tuple(labels))
    if loaded.labels is not None:
        check_label_count(loaded.labels, loaded.num_classes)
    photos = None
    if calibration is not None:
        count = DEFAULT_SIZE if calibration_size is None else calibration_size
        with progress("Preparing the calibration's photos"):
            photos = load_calibration(Path(calibration), loaded.preprocessing, count)
    plans = [plan_quantization(spec.target, spec.precision, photos, calibration_method) for spec in specs]
    with progress("Counting MACs"):
        record = describe_model(loaded, options or {})
    artifacts = tuple(
        _export_one(
            loaded,
            record,
            spec,
            plan,
            final,
            bound=bound,
            images=images,
            overwrite=overwrite,
            keep_failed=keep_failed,
            bundle=bundle,
            command=command,
            progress=progress,
        )
        for spec, plan, final in zip(specs, plans, finals, strict=True)
    )
    result = ExportResult(model, loaded.weights.random, loaded.weights.ema, artifacts)
    failed = [artifact for artifact in artifacts if artifact.parity.status == "failed"]
    if failed:
        raise GateError(
            "; ".join(f"{artifact.target} {artifact.precision}: {artifact.parity.reason}" for artifact in failed) + ".",
            hint=None if keep_failed else "The failed artifact was removed; --keep-failed keeps it for inspection.",
            result=result,
        )
    return result


def _rewrite(loaded: LoadedModel, spec: ExportSpec) -> Rewritten:
    import torch

    from mobilevit_tools.rewrites._base import apply

    generator = torch.Generator().manual_seed(0)
    example = torch.randn(spec.batch, 3, *loaded.preprocessing.input_size, generator=generator)
    return apply(
        loaded.module,
        example,
        deployment=spec.deployment,
        precision=spec.arithmetic,
        weights_alone=PRECISIONS[spec.precision].weights_alone,
        names=spec.rewrites,
    )


def _with_flips(parity: Parity, flips: int | None) -> Parity:
    return (
        parity if flips is None else replace(parity, flips=flips, reason=f"{parity.reason}; {flips} decisions differ")
    )


def _export_one(
    loaded: LoadedModel,
    record: ModelRecord,
    spec: ExportSpec,
    quantization: Quantization | None,
    final: Path,
    *,
    bound: AccuracyBound | None,
    images: Sequence[Path] | None,
    overwrite: bool,
    keep_failed: bool,
    bundle: bool,
    command: str | None,
    progress: Progress,
) -> ExportedArtifact:
    from mobilevit_tools.bundle.golden import BUNDLE_FOLDER, write_bundle
    from mobilevit_tools.data.bundled import verification_photos
    from mobilevit_tools.verification.inputs import build_inputs

    clock = _Clock(progress)
    contract = contract_of(loaded, spec)
    with clock.step("import", f"Loading the {spec.target} converter"):
        exporter = load_exporter(spec.target)
    with clock.step("rewrite", f"Rewriting for {spec.deployment}, and proving it"):
        rewritten = _rewrite(loaded, spec)
    inputs = build_inputs(contract.preprocessing, verification_photos() if images is None else images)
    reference = torch_reference(loaded.module)
    preflights: list[Preflight] = []

    def preflight(program: ExportedProgram) -> tuple[str, ...]:
        from mobilevit_tools.precision.preflight import run_preflight

        if not preflights:  # all that a search tries is made of one program
            started = time.perf_counter()
            preflights.append(run_preflight(program, contract, reference, inputs, spec.fp16_keep))
            clock.seconds["preflight"] = round(time.perf_counter() - started, 3)
        return preflights[-1].names

    if bound is not None and quantization is not None:
        with clock.step("search", f"Searching for what {spec.variant} must keep in floating point"):
            quantization = keep_within(
                bound,
                rewritten.module,
                quantization,
                exporter=exporter,
                spec=spec,
                contract=contract,
                num_classes=loaded.num_classes,
                reference=reference,
                preflight=preflight,
                progress=progress,
            )
    with staged_folder(final, overwrite=overwrite) as stage:
        path = stage.folder / spec.file_name
        with clock.step("convert", f"Converting to {spec.variant}"), naming_refusals(contract.model, spec):
            lowering = exporter.lower(rewritten.module, spec, contract, path, quantization, preflight=preflight)
        with clock.step("verify", f"Verifying {spec.variant}"), open_session(path) as session:
            parity = verify_session(session, reference, inputs, GATES[spec.precision])
        if parity.status == "failed":
            parity = _with_flips(parity, count_flips(loaded.module, exporter, spec, contract, inputs))
        described = describe_artifact(path)
        manifest = Manifest(
            artifact=described,
            model=record,
            spec=spec,
            contract=contract,
            parity=parity,
            rewrites=rewritten.applied,
            rewrite_difference=rewritten.difference,
            quantization=quantization.record if quantization else None,
            fp16_keep=preflights[-1].keep if preflights else (),
            delegation=lowering.delegation,
            tools=tool_versions(),
            command=command,
        )
        manifest_path = manifest.write(stage.folder)
        if bundle:
            with clock.step("bundle", f"Bundling {spec.variant}"), open_session(path) as session:
                write_bundle(path, manifest, session, reference, inputs)
        stage.keep = parity.status != "failed" or keep_failed
    return ExportedArtifact(
        target=spec.target,
        backend=spec.backend,
        precision=spec.precision,
        path=final / path.name,
        manifest=final / manifest_path.name,
        bundle=final / BUNDLE_FOLDER if bundle else None,
        size_bytes=described.size_bytes,
        params=record.params,
        macs=record.macs,
        parity=parity,
        delegation=lowering.delegation,
        rewrites=rewritten.applied,
        rewrite_difference=rewritten.difference,
        quantization=quantization.record if quantization else None,
        preflight=preflights[-1] if preflights else None,
        seconds=clock.whole(),
        kept=stage.keep,
    )
