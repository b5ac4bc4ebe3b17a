"""Make one artifact: lower the model, prove the artifact against it, describe it, and only then move it into place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.clock import StepClock
from mobilevit_tools.api.conversion import Conversion, check_conversion, scores_of, with_check, with_drift
from mobilevit_tools.api.decisions import count_flips
from mobilevit_tools.api.description import contract_of
from mobilevit_tools.api.trade import AccuracyBound, keep_within
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.artifacts.manifest import Manifest, ModelRecord
from mobilevit_tools.artifacts.staging import staged_folder
from mobilevit_tools.artifacts.versions import tool_versions
from mobilevit_tools.data.contract import DECISIONS
from mobilevit_tools.exporters._base import ExportSpec, Lowering, load_exporter
from mobilevit_tools.exporters.refusals import naming_refusals
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.models.factory import LoadedModel
from mobilevit_tools.precision.record import Preflight
from mobilevit_tools.progress import Progress
from mobilevit_tools.quantization._base import Quantization
from mobilevit_tools.quantization.share import QuantizedShare, share_of, with_share
from mobilevit_tools.runtimes.registry import open_made
from mobilevit_tools.targets.precisions import FLOATING
from mobilevit_tools.targets.registry import find_target
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.reference import torch_reference
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import tightened

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.rewrites._base import Rewritten


def make_artifact(
    loaded: LoadedModel,
    record: ModelRecord,
    request: ExportRequest,
    quantization: Quantization | None,
    final: Path,
    *,
    bound: AccuracyBound | None,
    images: Sequence[Path] | None,
    overwrite: bool,
    keep_failed: bool,
    bundle: bool,
    progress: Progress,
) -> ExportedArtifact:
    """Make one artifact of ``loaded`` in ``final``; a failed one is only there where ``keep_failed`` says so.

    Args:
        loaded: The model.
        record: What the manifest says of the model.
        request: What is asked for.
        quantization: How to quantize it; None in floating point.
        final: The folder that it gets.
        bound: How much accuracy quantization may cost; None where it may cost what it does.
        images: Photos to verify with; None for the bundled ones.
        overwrite: Replace what is in ``final``.
        keep_failed: Keep an artifact that failed its gate, marked so.
        bundle: Add a golden bundle.
        progress: Told of every step.

    Raises:
        BadInputError: The converter does not take the model, or the photos or the destination cannot be used.
        GateError: The rewritten model does not compute what the model computes.
    """
    from mobilevit_tools.bundle.golden import BUNDLE_FOLDER, write_bundle
    from mobilevit_tools.data.bundled import verification_photos
    from mobilevit_tools.verification.inputs import build_inputs, held_out_inputs

    clock = StepClock(progress)
    spec, gate = request.spec, tightened(request.precision, request.gates)
    contract = contract_of(loaded, spec)
    with clock.step("import", f"Loading the {spec.target} converter"):
        exporter = load_exporter(spec.target)
    with clock.step("rewrite", f"Rewriting for {spec.deployment} and checking the rewrites"):
        rewritten = _rewrite(loaded, spec, contract, quantization)
    inputs = build_inputs(contract.preprocessing, verification_photos() if images is None else images)
    reference = torch_reference(loaded.module)
    conversion = Conversion(loaded, record, rewritten, spec, contract, exporter, reference, inputs)
    check = None
    if spec.precision != "fp32" or contract.output in DECISIONS:  # these hide as much as a reduced precision
        with clock.step("float32", f"Checking the conversion to {spec.deployment} in float32"):
            check = check_conversion(conversion)
    preflights: list[Preflight] = []

    def preflight(program: ExportedProgram) -> tuple[str, ...]:
        from mobilevit_tools.precision.preflight import run_preflight

        if not preflights:  # all that a search tries is made of one program
            with clock.step("preflight", "Checking the model in half precision"):
                preflights.append(run_preflight(program, scores_of(contract), reference, inputs, spec.fp16_keep))
        return preflights[-1].names

    if bound is not None and quantization is not None:
        with clock.step("search", f"Searching for operators that {spec.variant} must keep in floating point"):
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
        with clock.step("convert", f"Converting to {spec.variant}"), naming_refusals(contract, spec, rewritten.module):
            lowering = exporter.lower(rewritten.module, spec, contract, path, quantization, preflight=preflight)
        with clock.step("verify", f"Verifying {spec.variant}"), open_made(path) as session:
            calibration = quantization.calibration if quantization else None
            held_out = held_out_inputs(contract.preprocessing, calibration.held_out) if calibration else []
            parity = verify_session(session, reference, [*inputs, *held_out], gate, progress)
        if parity.status == "failed":
            parity = _with_flips(parity, count_flips(loaded.module, exporter, spec, contract, inputs))
        if check is not None:
            parity = with_check(parity, check)
        elif parity.status == "failed":
            with clock.step("drift", "Looking for the first operator that drifts"):
                parity = with_drift(parity, conversion)
        quantized = share_in(path, spec, lowering)
        described = describe_artifact(path)
        manifest = Manifest(
            artifact=described,
            model=record,
            spec=spec,
            contract=contract,
            parity=(parity := with_share(parity, quantized, request.least_quantized)),
            rewrites=rewritten.applied,
            rewrite_difference=rewritten.difference,
            quantization=quantization.record if quantization else None,
            quantized=quantized,
            fp16_keep=preflights[-1].keep if preflights else (),
            delegation=lowering.delegation,
            tools=tool_versions(),
            request=request,
        )
        manifest_path = manifest.write(stage.folder)
        if bundle:
            with clock.step("bundle", f"Bundling {spec.variant}"), open_made(path) as session:
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
        quantized=quantized,
        preflight=preflights[-1] if preflights else None,
        seconds=clock.whole(),
        kept=stage.keep,
    )


def _rewrite(loaded: LoadedModel, spec: ExportSpec, contract: Contract, quantization: Quantization | None) -> Rewritten:
    import torch

    from mobilevit_tools.rewrites._base import apply

    generator = torch.Generator().manual_seed(0)
    example = torch.randn(spec.batch, 3, *loaded.preprocessing.input_size, generator=generator)
    rewritten = apply(
        loaded.module,
        example,
        deployment=spec.deployment,
        precision=spec.arithmetic,
        rounded=spec.precision not in FLOATING,
        names=spec.rewrites,
    )
    if quantization is None:
        return rewritten
    if quantization.calibration is not None:
        from mobilevit_tools.quantization.migration import migrate_scales

        moved = migrate_scales(rewritten.module, quantization.calibration, spec.batch)
        rewritten = rewritten if moved is None else replace(rewritten, applied=(*rewritten.applied, moved))
    return _with_stored_weights(rewritten, spec, contract)


def _with_stored_weights(rewritten: Rewritten, spec: ExportSpec, contract: Contract) -> Rewritten:
    """Store weights that are computed, and write products with weights as layers: quantizers pass over both."""
    from mobilevit_tools.exporters.io_names import example_input
    from mobilevit_tools.quantization.computed_weights import store_computed_weights
    from mobilevit_tools.quantization.stored_products import write_stored_products

    example = example_input(contract, max(spec.batch, 2) if spec.options.free_batch else spec.batch)
    for write in (write_stored_products, store_computed_weights):
        module, applied = write(rewritten.module, example, free_batch=spec.options.free_batch)
        if applied is not None:
            rewritten = replace(rewritten, module=module, applied=(*rewritten.applied, applied))
    return rewritten


def share_in(path: Path, spec: ExportSpec, lowering: Lowering) -> QuantizedShare | None:
    """Tell how much of an artifact is quantized, from itself where its target can read that; None in floating point."""
    if spec.precision in FLOATING:
        return None
    target = find_target(spec.target)
    layers = lowering.layers if target.layers is None else target.load(target.layers)(path)
    return share_of(layers, spec.precision, lowering.asked)


def _with_flips(parity: Parity, flips: int | None) -> Parity:
    return (
        parity if flips is None else replace(parity, flips=flips, reason=f"{parity.reason}; {flips} decisions differ")
    )
