"""Make one artifact: lower the model, prove the artifact against it, describe it, and only then move it into place."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.accuracy_bound import AccuracyBound, keep_within
from mobilevit_tools.api.clock import StepClock
from mobilevit_tools.api.conversion import Conversion, check_conversion, scores_of, with_check, with_drift
from mobilevit_tools.api.decisions import count_changed
from mobilevit_tools.api.description import contract_of
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.artifacts.files import MANIFEST_NAME, describe_artifact
from mobilevit_tools.artifacts.manifest import Manifest, ModelRecord
from mobilevit_tools.artifacts.staging import remove, staged_folder
from mobilevit_tools.artifacts.versions import tool_versions
from mobilevit_tools.bundle.golden import BUNDLE_FOLDER, write_bundle
from mobilevit_tools.data.contract import DECISIONS
from mobilevit_tools.errors import MvtError
from mobilevit_tools.exporters._base import ExportSpec, Half, Lowering, load_exporter
from mobilevit_tools.exporters.refusals import naming_refusals
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.models.factory import LoadedModel
from mobilevit_tools.precision.record import Preflight
from mobilevit_tools.progress import Progress
from mobilevit_tools.quantization._base import Quantization
from mobilevit_tools.quantization.share import QuantizedShare, share_of, with_share
from mobilevit_tools.runtimes.registry import open_made
from mobilevit_tools.targets.precisions import FLOATING, PRECISIONS
from mobilevit_tools.targets.registry import find_target
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.reference import torch_reference
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import tightened, with_same_ranges

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.rewrites._base import Rewritten
    from mobilevit_tools.verification.parity import Float32Check


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
    clock = StepClock(progress)
    conversion = _prepare(loaded, record, request, quantization, images=images, clock=clock)
    check = None if quantization is not None and quantization.own_ranges else _check(conversion, clock)
    conversion = _with_learnt(conversion, quantization)
    half, preflight = _plan_half(conversion, clock)
    spec = request.spec
    if bound is not None and quantization is not None:
        with clock.step("search", f"Searching for operators that {spec.variant} must keep in floating point"):
            quantization = keep_within(
                bound,
                conversion.rewritten.module,
                quantization,
                exporter=conversion.exporter,
                spec=spec,
                contract=conversion.contract,
                num_classes=loaded.num_classes,
                reference=conversion.reference,
                half=half,
                progress=progress,
            )
    with staged_folder(final, overwrite=overwrite) as stage:
        path = stage.folder / spec.file_name
        lowering = _lower(conversion, path, quantization, half, clock)
        parity = _verify(path, conversion, request, quantization, check=check, clock=clock)
        again = _plan_again(conversion, half, parity, check, clock)
        if again is not None:
            other = path.with_name(f"again-{path.name}")
            try:
                second = _lower(conversion, other, quantization, again[0], clock)
                parity = _verify(other, conversion, request, quantization, check=check, clock=clock)
            except MvtError as error:  # the first is still there
                parity = replace(parity, reason=f"{parity.reason}; keeping more in float32 failed: {error.message}")
                remove(other)
            else:
                lowering, preflight = second, again[1]
                remove(path)
                other.rename(path)
        quantized = share_in(path, spec, lowering)
        manifest = Manifest(
            artifact=describe_artifact(path),
            model=record,
            spec=spec,
            contract=conversion.contract,
            parity=with_share(parity, quantized, request.least_quantized),
            rewrites=conversion.rewritten.applied,
            rewrite_difference=conversion.rewritten.difference,
            quantization=quantization.record if quantization else None,
            quantized=quantized,
            fp16_keep=preflight.keep if preflight else (),
            delegation=lowering.delegation,
            tools=tool_versions(),
            request=request,
        )
        manifest.write(stage.folder)
        if bundle:
            with clock.step("bundle", f"Bundling {spec.variant}"), open_made(path) as session:
                write_bundle(path, manifest, session, conversion.reference, conversion.inputs)
        stage.keep = manifest.parity.status != "failed" or keep_failed
    return _finished(manifest, final, preflight, clock, bundle=bundle, kept=stage.keep)


def _prepare(
    loaded: LoadedModel,
    record: ModelRecord,
    request: ExportRequest,
    quantization: Quantization | None,
    *,
    images: Sequence[Path] | None,
    clock: StepClock,
) -> Conversion:
    """Rewrite the model for its target, and bring together what is converted and what that is judged on."""
    from mobilevit_tools.data.bundled import verification_photos
    from mobilevit_tools.verification.inputs import build_inputs

    spec = request.spec
    contract = contract_of(loaded, spec)
    with clock.step("import", f"Loading the {spec.target} converter"):
        exporter = load_exporter(spec.target)
    with clock.step("rewrite", f"Rewriting for {spec.deployment} and checking the rewrites"):
        rewritten = rewritten_for(loaded, spec, contract, quantization, spec.batch)
    inputs = build_inputs(contract.preprocessing, verification_photos() if images is None else images)
    return Conversion(loaded, record, rewritten, spec, contract, exporter, torch_reference(loaded.module), inputs)


def _check(conversion: Conversion, clock: StepClock) -> Float32Check | None:
    """Judge the conversion in float32 where the artifact hides what that got wrong; None where it hides nothing."""
    spec = conversion.spec
    if spec.precision == "fp32" and conversion.contract.output not in DECISIONS:
        return None
    with clock.step("float32", f"Checking the conversion to {spec.deployment} in float32"):
        return check_conversion(conversion)


def _plan_half(conversion: Conversion, clock: StepClock) -> tuple[Half | None, Preflight | None]:
    """Find what must stay in float32 of an artifact that computes in half precision; None of any other."""
    spec, contract = conversion.spec, conversion.contract
    if spec.arithmetic != "fp16":
        return None, None
    module = conversion.rewritten.module
    with (
        clock.step("preflight", "Checking the model in half precision"),
        naming_refusals(contract, spec, module),
    ):
        program = conversion.exporter.trace(module, spec, contract)
        if program is None:
            return None, None
        found = _preflight(conversion, program, narrow_sums=False)
    return Half(program, found.names), found


def _preflight(conversion: Conversion, program: ExportedProgram, *, narrow_sums: bool) -> Preflight:
    from mobilevit_tools.precision.preflight import run_preflight

    contract, keep = scores_of(conversion.contract), conversion.spec.fp16_keep
    return run_preflight(program, contract, conversion.reference, conversion.inputs, keep, narrow_sums=narrow_sums)


def _plan_again(
    conversion: Conversion, half: Half | None, parity: Parity, check: Float32Check | None, clock: StepClock
) -> tuple[Half, Preflight] | None:
    """Find what else must stay in float32 where a runtime lost more than the model of half precision predicted.

    None where the artifact passed, the conversion is wrong, nothing was planned, or no set of operators would help.
    """
    right = check is None or check.status == "passed"
    if half is None or parity.status != "failed" or conversion.spec.fp16_keep is not None or not right:
        return None
    with clock.step("preflight", "Checking the model with sums in half precision"):
        found = _preflight(conversion, half.program, narrow_sums=True)
    return (Half(half.program, found.names), found) if found.restored and set(found.names) > set(half.keep) else None


def _lower(
    conversion: Conversion, path: Path, quantization: Quantization | None, half: Half | None, clock: StepClock
) -> Lowering:
    spec, contract, module = conversion.spec, conversion.contract, conversion.rewritten.module
    with clock.step("convert", f"Converting to {spec.variant}"), naming_refusals(contract, spec, module):
        return conversion.exporter.lower(module, spec, contract, path, quantization, half=half)


def _verify(
    path: Path,
    conversion: Conversion,
    request: ExportRequest,
    quantization: Quantization | None,
    *,
    check: Float32Check | None,
    clock: StepClock,
) -> Parity:
    """Apply the gate of what was asked for, and say of a failed artifact where it went wrong."""
    from mobilevit_tools.verification.inputs import held_out_inputs

    spec, contract, inputs = conversion.spec, conversion.contract, conversion.inputs
    own = quantization is not None and quantization.own_ranges
    gate = tightened(spec.precision, request.gates)
    gate = with_same_ranges(gate) if own else gate
    with clock.step("verify", f"Verifying {spec.variant}"):
        calibration = quantization.calibration if quantization else None
        held_out = held_out_inputs(contract.preprocessing, calibration.held_out) if calibration else []
        with open_made(path) as session:
            parity = verify_session(session, conversion.reference, [*inputs, *held_out], gate, clock.progress)
    if parity.status == "failed":
        decided = count_changed(conversion.loaded.module, conversion.exporter, spec, contract, inputs)
        parity = _with_decisions(parity, decided)
    if check is not None:
        return with_check(parity, check)
    if own:
        return parity
    if parity.status == "failed":
        with clock.step("drift", "Looking for the first operator that drifts"):
            return with_drift(parity, conversion)
    return parity


def _finished(
    manifest: Manifest, final: Path, preflight: Preflight | None, clock: StepClock, *, bundle: bool, kept: bool
) -> ExportedArtifact:
    spec = manifest.spec
    return ExportedArtifact(
        target=spec.target,
        backend=spec.backend,
        precision=spec.precision,
        path=final / manifest.artifact.file,
        manifest=final / MANIFEST_NAME,
        bundle=final / BUNDLE_FOLDER if bundle else None,
        size_bytes=manifest.artifact.size_bytes,
        params=manifest.model.params,
        macs=manifest.model.macs,
        parity=manifest.parity,
        delegation=manifest.delegation,
        rewrites=manifest.rewrites,
        rewrite_difference=manifest.rewrite_difference,
        quantization=manifest.quantization,
        quantized=manifest.quantized,
        preflight=preflight,
        seconds=clock.whole(),
        kept=kept,
    )


def _with_learnt(conversion: Conversion, quantization: Quantization | None) -> Conversion:
    """Put in what a model has learnt; the conversion itself is checked with the float weights before that."""
    if quantization is None or quantization.learnt is None:
        return conversion
    module = copy.deepcopy(conversion.rewritten.module)
    quantization.learnt.fill(module)
    return replace(conversion, rewritten=replace(conversion.rewritten, module=module))


def rewritten_for(
    loaded: LoadedModel, spec: ExportSpec, contract: Contract, quantization: Quantization | None, batch: int
) -> Rewritten:
    """Return a model in the form that is quantized and lowered, proved to compute the same.

    Args:
        loaded: The model.
        spec: What is made of it.
        contract: The artifact's.
        quantization: How it is quantized; None in floating point.
        batch: Images of the input that it is tried with.

    Raises:
        GateError: The rewritten model does not compute what the model computes.
    """
    import torch

    from mobilevit_tools.rewrites._base import Rewritten, apply

    if quantization is not None and quantization.own_ranges:
        return Rewritten(loaded.module, (), 0.0)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(batch, 3, *loaded.preprocessing.input_size, generator=generator)
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
    if quantization.calibration is not None and PRECISIONS[quantization.precision].calibrated:
        from mobilevit_tools.quantization.migration import migrate_scales

        moved = migrate_scales(rewritten.module, quantization.calibration, batch)
        rewritten = rewritten if moved is None else replace(rewritten, applied=(*rewritten.applied, moved))
    return _with_stored_weights(rewritten, spec, contract, batch)


def _with_stored_weights(rewritten: Rewritten, spec: ExportSpec, contract: Contract, batch: int) -> Rewritten:
    """Store weights that are computed, and write products with weights as layers: quantizers pass over both."""
    from mobilevit_tools.exporters.io_names import example_input
    from mobilevit_tools.quantization.computed_weights import store_computed_weights, traced
    from mobilevit_tools.quantization.stored_products import write_stored_products

    free = spec.options.free_batch
    example = example_input(contract, max(batch, 2) if free else batch)
    program: ExportedProgram | None = traced(rewritten.module, example, free_batch=free)
    for write in (write_stored_products, store_computed_weights):
        module, applied = write(rewritten.module, example, free_batch=free, program=program)
        if applied is not None:
            rewritten = replace(rewritten, module=module, applied=(*rewritten.applied, applied))
            program = None  # it is of the module before
    return rewritten


def share_in(path: Path, spec: ExportSpec, lowering: Lowering) -> QuantizedShare | None:
    """Tell how much of an artifact is quantized, from itself where its target can read that; None in floating point."""
    if spec.precision in FLOATING:
        return None
    target = find_target(spec.target)
    layers = lowering.layers if target.layers is None else target.load(target.layers)(path)
    return share_of(layers, spec.precision, lowering.asked)


def _with_decisions(parity: Parity, changed: int | None) -> Parity:
    if changed is None:
        return parity
    return replace(parity, changed_decisions=changed, reason=f"{parity.reason}; {changed} decisions differ")
