"""Verify an artifact that is there already against the model that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.given import given_artifact, given_module
from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.devices.registry import find_kind
from mobilevit_tools.errors import BadInputError, GateError, MissingDependencyError, UsageError
from mobilevit_tools.models.factory import LoadedModel, load_model
from mobilevit_tools.models.provenance import IN_MEMORY
from mobilevit_tools.models.references import is_file_reference, path_in, short_name, with_path
from mobilevit_tools.normalization import normalized_by
from mobilevit_tools.process_state import restoring
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.several import several
from mobilevit_tools.tasks.registry import settle
from mobilevit_tools.verification.on_device import check_device, verify_on_device
from mobilevit_tools.verification.reference import torch_reference
from mobilevit_tools.verification.result import VerifyResult
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import GATES, tightened
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    from torch import nn

_ASSUMED = f"Without a manifest, the fp32 gate applies; pass --precision for another one: {', '.join(GATES)}."


@restoring
def verify(
    artifact: str | Path,
    *,
    model: str | nn.Module | None = None,
    checkpoint: str | Path | None = None,
    ema: bool | None = None,
    precision: str | None = None,
    gates: str | Sequence[str] = (),
    images: str | Path | Sequence[str | Path] | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> VerifyResult:
    """Run an artifact and its PyTorch float32 model on the same inputs and apply the gate of its precision.

    Args:
        artifact: The artifact's path.
        model: The model to compare with, a name or a :class:`torch.nn.Module`, which stays as it is; by default what
            the manifest or the artifact's contract names.
        checkpoint: The model's weights; by default what the manifest names.
        ema: Take the checkpoint's moving average, or not; by default as the manifest says.
        precision: The gate to apply; by default the manifest's precision, or the device's where that computes in an
            arithmetic of its own.
        gates: Stricter gates than mvt's own, as for an export; those of the manifest apply, too.
        images: Photos to verify with, of more than 256 as many, evenly chosen; by default the bundled ones.
        device: Where to run it, as ``mvt devices`` lists them; by default in this process. ``host`` is the native
            runner on this machine.
        progress: Told of every step.

    Raises:
        BadInputError: The artifact or the model's weights cannot be read, or are not those of the manifest, or the
            model's own outputs are not finite.
        UsageError: Nothing says what to compare with, or the device does not run such an artifact.
        DeviceError: The device failed, or the artifact crashed or hung on it.
        GateError: The gate failed; ``result`` holds the :class:`VerifyResult`.
        MissingDependencyError: Nothing here can run the artifact, which is no pass; ``result`` as above.

    Example:
        >>> mvt.verify(artifact, model=net).parity.status
        'passed'
        >>> import copy
        >>> other = copy.deepcopy(net)
        >>> other[-1].bias.data += 1 / torch.arange(1, 4)
        >>> try:
        ...     mvt.verify(artifact, model=other)
        ... except mvt.GateError as error:
        ...     print(error.exit_code, error.result.parity.status)
        4 failed
    """
    from mobilevit_tools.data.bundled import verification_photos
    from mobilevit_tools.verification.inputs import build_inputs

    given = given_artifact(artifact, "verify")
    path = given.path
    if device is not None:
        check_device(device, path)
    matches = given.is_described
    manifest = given.manifest
    with given.naming_changes(), ExitStack() as stack:
        with progress(f"Loading {path}"):
            session = stack.enter_context(given.open())
        with progress("Loading the model"):
            loaded = reference_model(session.contract, manifest, model, checkpoint, ema)
        own = None if device is None else find_kind(device).gate
        chosen = precision or own or (manifest.spec.precision if manifest else "fp32")
        if chosen not in GATES:
            raise UsageError(f"There is no gate for {chosen!r}.", hint=f"Gates: {', '.join(GATES)}.")
        gate = tightened(chosen, (*several(gates), *(manifest.request.gates if manifest else ())))
        photos = verification_photos() if images is None else [Path(each) for each in several(images)]
        inputs = build_inputs(loaded.preprocessing, photos)
        reference = torch_reference(loaded.module)
        native = ran = None
        if device is None:
            with progress(f"Verifying on {number_of(len(inputs), 'inputs')}"):
                parity = verify_session(session, reference, inputs, gate, progress)
                system = session.native()
                native = None if system is None else verify_session(system, reference, inputs, gate)
        else:
            with progress(f"Verifying on {number_of(len(inputs), 'inputs')}, on {device}"):
                ran = verify_on_device(device, path, session, reference=reference, inputs=inputs, tolerance=gate)
                parity = ran.parity
    result = VerifyResult(
        artifact=path,
        model=loaded.name,
        precision=chosen,
        gate=gate,
        digest_matches=matches,
        parity=parity,
        native=native,
        device=ran.device if ran else None,
        difference=ran.difference if ran else None,
        agreement=ran.agreement if ran else None,
        partitioning=ran.partitioning if ran else None,
    )
    _check_verdicts(result, hint=None if precision or manifest else _ASSUMED)
    return result


def _check_verdicts(result: VerifyResult, hint: str | None) -> None:
    """Raise what a result that is no pass means; ``hint`` is for a failed gate."""
    verdicts = [verdict for verdict in (result.parity, result.native) if verdict is not None]
    for verdict in verdicts:
        if verdict.status == "failed":
            where = f" on {result.device}" if result.device else ""
            raise GateError(
                f"{result.artifact} does not compute {result.model}{where}: {verdict.reason}.",
                hint=hint,
                result=result,
            )
    if all(verdict.status == "not_verified" for verdict in verdicts):
        raise MissingDependencyError(
            f"{result.artifact} was not verified: {result.parity.reason}",
            hint="Verify it on a machine that has its runtime, or with --device; see `mvt devices`.",
            code="not_verified",
            result=result,
        )


def _taken(name: str) -> str:
    return "runs" if is_file_reference(name) else "reads"


def reference_model(
    contract: Contract | None,
    manifest: Manifest | None,
    model: str | nn.Module | None,
    checkpoint: str | Path | None,
    ema: bool | None,
) -> LoadedModel:
    """Load the PyTorch model that an artifact was made from, built and loaded as its manifest says.

    Args:
        contract: The artifact's contract.
        manifest: Its manifest.
        model: Another model, or a module; what the manifest says is then not of it.
        checkpoint: Weights in place of those that the manifest names.
        ema: Take the checkpoint's moving average or not; by default as the manifest says.

    Raises:
        UsageError: Nothing says what model it is.
        BadInputError: The weights cannot be read, or are not those of the manifest.
    """
    loaded = _load_reference(contract, manifest, model, checkpoint, ema)
    return loaded if contract is None else settle(loaded, contract.task, upsample=contract.upsampled)


def _load_reference(
    contract: Contract | None,
    manifest: Manifest | None,
    model: str | nn.Module | None,
    checkpoint: str | Path | None,
    ema: bool | None,
) -> LoadedModel:
    if model is not None and not isinstance(model, str):
        return _reference_module(model, contract, checkpoint, ema)
    name = model or _stated_model(contract, manifest)
    size = contract.preprocessing.input_size if contract else None
    if manifest is None or short_name(name) != manifest.model.name:
        return load_model(name, checkpoint=checkpoint, ema=ema, input_size=size)
    return _load_stated(name, manifest, size, checkpoint, ema)


def _stated_model(contract: Contract | None, manifest: Manifest | None) -> str:
    """Return the name of the model that an artifact says it was made from.

    Raises:
        UsageError: It says none, or one that only people may name.
    """
    name = manifest.model.name if manifest else contract.model if contract else None
    if name is None:
        raise UsageError(
            "The artifact does not name its model and has no manifest.",
            hint="Give --model NAME and --checkpoint PATH.",
        )
    path = path_in(name)
    if path is not None:
        # What an artifact says may come from anyone, so only what people name themselves is run or read.
        raise UsageError(
            f"The artifact was made from {name}, which mvt only {_taken(name)} when you name it.",
            hint=f"Give --model {with_path(name, f'path/to/{path}')}.",
            code="own_model",
        )
    if manifest is not None and manifest.model.weights.source == IN_MEMORY:
        raise UsageError(
            f"The artifact was made from {name}, a module that was in memory.",
            hint="From Python, give model=THE_MODULE; on the command line, --model path/to/net.py:build and "
            "--checkpoint PATH.",
            code="in_memory",
        )
    return name


def _load_stated(
    name: str, manifest: Manifest, size: tuple[int, int] | None, checkpoint: str | Path | None, ema: bool | None
) -> LoadedModel:
    """Load a manifest's model, with the weights that it states or those of ``checkpoint``."""
    weights = manifest.model.weights
    stored = None if weights.source == name else weights.source
    try:
        loaded = load_model(
            name,
            num_classes=_counted(manifest),
            checkpoint=stored if checkpoint is None else checkpoint,
            ema=weights.ema if ema is None else ema,
            random_weights=weights.random and checkpoint is None,
            input_size=size,
            options=manifest.model.options,
        )
    except BadInputError as error:
        if checkpoint is not None or error.error_code != "no_such_checkpoint":
            raise
        raise BadInputError(
            error.message,
            hint="The manifest stores the path as typed; pass the current one with --checkpoint.",
            code=error.error_code,
        ) from error
    if checkpoint is None and loaded.weights.sha256 != weights.sha256:
        raise BadInputError(
            f"{weights.source} is not the checkpoint that the artifact was exported from: the digests differ.",
            hint="Pass the right one with --checkpoint.",
            code="checkpoint_changed",
        )
    asked = manifest.request
    return replace(loaded, preprocessing=normalized_by(loaded.preprocessing, asked.mean, asked.std))


def _counted(manifest: Manifest) -> int | None:
    """Return the class count that a model is built with; a segmenter's is read from its map."""
    return None if manifest.contract.means == "segment" else manifest.model.num_classes or None


def _reference_module(
    module: nn.Module, contract: Contract | None, checkpoint: str | Path | None, ema: bool | None
) -> LoadedModel:
    """Load a module with the input that the artifact says it has."""
    given = given_module(module, of_names={"checkpoint": checkpoint, "ema": ema})
    if given is None or contract is None:
        raise UsageError(
            "The artifact does not describe its preprocessing, so it cannot be compared with a module.",
            hint="Use an artifact from `mvt export`.",
            code="no_contract",
        )
    said = {} if contract.output != "embedding" else {"output": contract.output}
    loaded = replace(given, card=said).load(contract.preprocessing.input_size)
    return replace(loaded, preprocessing=contract.preprocessing)
