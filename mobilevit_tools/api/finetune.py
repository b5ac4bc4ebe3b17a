"""Fine-tune a model for one target and precision: its quantized form learns from its float form, without labels."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.finetune_state import DEFAULT_MINUTES, DEFAULT_STEPS, fingerprint
from mobilevit_tools.api.given import given_module
from mobilevit_tools.api.learner import Learner, learn, prepare
from mobilevit_tools.api.requested import load_requested, settle_requested
from mobilevit_tools.errors import GateError, MissingDependencyError, UsageError
from mobilevit_tools.exporters._base import check_packages
from mobilevit_tools.exporters.request import requests_for
from mobilevit_tools.input_size import size_text
from mobilevit_tools.models.learnt import LearntRecord, learnt_bytes
from mobilevit_tools.models.options import OptionValue, option_texts
from mobilevit_tools.normalization import channels_text
from mobilevit_tools.process_state import restoring
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE, Calibration, load_calibration
from mobilevit_tools.quantization.nearness import Nearness
from mobilevit_tools.result import Result
from mobilevit_tools.targets.precisions import FLOATING
from mobilevit_tools.targets.registry import TARGETS, find_target
from mobilevit_tools.writing import check_file, write_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobilevit_tools.exporters._base import ExportSpec
    from mobilevit_tools.exporters.request import ExportRequest
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.models.own_card import Card


@dataclass(frozen=True, repr=False)
class FinetuneResult(Result, command="finetune"):
    """A checkpoint, and what was gained.

    Attributes:
        model: The model's name.
        target: The target that it is for.
        backend: Its backend; None where the target has no choice.
        precision: The precision that it is for.
        checkpoint: The file, for ``mvt export --checkpoint``.
        steps: How many steps were taken.
        finished: Whether these were all; otherwise the time was over.
        seconds: How long this call took.
        device: Where it computed.
        before: How near the quantized model was to the float model, on photos that it did not learn from.
        after: How near it is now, in the arithmetic of PyTorch; ``mvt export`` judges the artifact.
    """

    model: str
    target: str
    backend: str | None
    precision: str
    checkpoint: Path
    steps: int
    finished: bool
    seconds: float
    device: str
    before: Nearness
    after: Nearness


@restoring
def finetune(
    model: str | nn.Module,
    *,
    precision: str,
    target: str,
    calibration: str | Path,
    output: str | Path,
    name: str | None = None,
    card: Card | Mapping[str, object] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    backend: str | None = None,
    checkpoint: str | Path | None = None,
    ema: bool | None = None,
    random_weights: bool = False,
    num_classes: int | None = None,
    input_size: tuple[int, int] | None = None,
    options: Mapping[str, OptionValue] | None = None,
    calibration_size: int = DEFAULT_SIZE,
    calibration_method: str | None = None,
    minutes: float = DEFAULT_MINUTES,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> FinetuneResult:
    """Let a quantized model learn from its own float model on unlabelled photos.

    The checkpoint is for :func:`mobilevit_tools.export` with the same model, target and precision; its float weights
    are the given ones. A run that was interrupted leaves its state beside ``output``, and the same call goes on from
    it. The same seed and number of steps give the same checkpoint on the same machine.

    Args:
        model: A name, as ``mvt export`` takes it, or a :class:`torch.nn.Module`.
        precision: A quantized precision of the target.
        target: The target.
        calibration: A folder of photos; those that calibrate are learnt from, and others of it are judged on.
        output: The checkpoint to write, ``.safetensors``.
        name: A module: what artifacts call it.
        card: A module: what is known of it.
        mean: Per-channel mean on the 0-1 scale; by default the model's own.
        std: Per-channel standard deviation on the 0-1 scale, likewise.
        backend: The target's backend.
        checkpoint: The float weights, a path or ``hf://owner/repo/file``.
        ema: Take the checkpoint's moving average (True), its raw weights (False), or the average if there (None).
        random_weights: Allow random weights.
        num_classes: The class count; by default the checkpoint's.
        input_size: Height and width in pixels.
        options: Options of the model's builder.
        calibration_size: How many photos to calibrate on and to learn from.
        calibration_method: How measured values become ranges.
        minutes: How long this call may learn.
        steps: How many steps of 8 photos the whole run has.
        seed: The seed of the photos' order and changes.
        device: ``cpu`` or ``cuda``; by default ``cuda`` where there is one.
        overwrite: Replace an existing checkpoint.
        progress: Told of every step of the work.

    Raises:
        UsageError: The arguments contradict each other, or the target cannot be fine-tuned for.
        BadInputError: The model, the photos, the state of an earlier run or the destination cannot be used.
        MissingDependencyError: A package that the target needs is not installed.
        GateError: The quantized model came no nearer; nothing was written.

    Example:
        >>> try:
        ...     mvt.finetune(net, precision="fp32", target="onnx", calibration="photos", output="small.safetensors")
        ... except mvt.UsageError as error:
        ...     print(error.message)
        Nothing is quantized in fp32.
    """
    started = time.monotonic()
    final = Path(output)
    request = _request(
        model,
        target=target,
        precision=precision,
        backend=backend,
        checkpoint=checkpoint,
        ema=ema,
        random_weights=random_weights,
        num_classes=num_classes,
        input_size=input_size,
        options=options,
        mean=channels_text(mean) if isinstance(model, str) else None,
        std=channels_text(std) if isinstance(model, str) else None,
    )
    spec = request.spec
    _check(spec, final, minutes=minutes, steps=steps, overwrite=overwrite)
    chosen = _device(device)
    with progress(f"Loading {request.model}"):
        given = given_module(
            model,
            name=name,
            card=card,
            overrides={} if isinstance(model, str) else {"mean": mean, "std": std},
            of_names={
                "checkpoint": checkpoint,
                "ema": ema,
                "random_weights": random_weights,
                "num_classes": num_classes,
                "options": options or None,
            },
        )
        loaded = load_requested(request) if given is None else settle_requested(given.load(input_size), request)
    _check_floating(loaded)
    photos = load_calibration(Path(calibration), loaded.preprocessing, calibration_size, progress)
    with progress(f"Rewriting for {spec.deployment} and measuring ranges"):
        learner = prepare(loaded, spec, photos, calibration_method, seed=seed, device=chosen)
    said = fingerprint(loaded, spec, photos, seed=seed, steps=steps)
    before, after = learn(learner, final, said, spec.variant, steps=steps, minutes=minutes, progress=progress)
    taken = learner.distillation.steps
    _check_nearer(loaded.name, before, after, taken)
    _write(learner, final, request, photos, seed=seed, digest=said["weights"])
    return FinetuneResult(
        model=loaded.name,
        target=spec.target,
        backend=spec.backend,
        precision=spec.precision,
        checkpoint=final,
        steps=taken,
        finished=taken >= steps,
        seconds=time.monotonic() - started,
        device=chosen,
        before=before,
        after=after,
    )


def _request(
    model: str | nn.Module,
    *,
    target: str,
    precision: str,
    backend: str | None,
    checkpoint: str | Path | None,
    input_size: tuple[int, int] | None,
    options: Mapping[str, OptionValue] | None,
    **common: object,
) -> ExportRequest:
    (request,) = requests_for(
        [find_target(target).name],
        model=model if isinstance(model, str) else "module",
        precision=precision,
        backend=backend,
        target_options={},
        checkpoint=None if checkpoint is None else str(checkpoint),
        input_size=size_text(input_size),
        options=option_texts(options or {}),
        **common,
    )
    return request


def _check(spec: ExportSpec, final: Path, *, minutes: float, steps: int, overwrite: bool) -> None:
    """Refuse what cannot be done before anything is loaded."""
    if spec.precision in FLOATING:
        raise UsageError(f"Nothing is quantized in {spec.precision}.", hint="Give a quantized --precision.")
    target = find_target(spec.target)
    if spec.precision not in target.learns:
        able = [f"{each.name}: {', '.join(each.learns)}" for each in TARGETS.values() if each.learns]
        raise UsageError(
            f"Fine-tuning for {spec.target} in {spec.precision} is not supported.",
            hint=f"Supported: {'; '.join(able)}.",
        )
    if not minutes > 0 or steps < 1:
        raise UsageError("Fine-tuning takes at least one step and some time.", hint="Give --minutes above 0.")
    if final.suffix != ".safetensors":
        raise UsageError(f"{final} is not a .safetensors file.", hint=f"Give {final.with_suffix('.safetensors')}.")
    check_file(final, overwrite=overwrite)
    check_packages(spec.target)


def _check_floating(loaded: LoadedModel) -> None:
    from mobilevit_tools.models.own_ranges import has_ranges

    if has_ranges(loaded.module):
        raise UsageError(
            f"{loaded.name} was quantized in training: there is no float model to learn from.",
            hint="Export it as it is, or fine-tune the model in floating point.",
            code="own_ranges",
        )


def _device(asked: str | None) -> str:
    import torch

    if asked not in (None, "cpu", "cuda"):
        raise UsageError(f"There is no device named {asked!r}.", hint="Give cpu or cuda.")
    if asked == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError("PyTorch finds no CUDA device here.", hint="Omit --device, or give cpu.")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def _write(
    learner: Learner, final: Path, request: ExportRequest, photos: Calibration, *, seed: int, digest: str
) -> None:
    """Write what was learnt, with the float weights of a checkpoint that was given."""
    weights = _weights(request)
    record = LearntRecord(
        deployment=request.spec.deployment,
        precision=request.spec.precision,
        steps=learner.distillation.steps,
        photos=photos.record.images,
        photos_sha256=photos.record.sha256,
        seed=seed,
        weights_sha256=digest,
        weights_inside=bool(weights),
    )
    write_whole(final, learnt_bytes(learner.weights(), weights, record))


def _check_nearer(name: str, before: Nearness, after: Nearness, steps: int) -> None:
    if after.snr_db <= before.snr_db:
        raise GateError(
            f"{name} came no nearer to its float model in {steps} steps: {after.snr_db:.1f} dB after "
            f"{before.snr_db:.1f} dB. Nothing was written.",
            hint="Give it more photos (--calibration-size) or more --minutes, or export it as it is.",
        )


def _weights(request: ExportRequest) -> Mapping[str, Tensor]:
    """Return the float weights of a checkpoint that was given; none where they came with the model."""
    from mobilevit_tools.models.checkpoint import read_checkpoint

    return {} if request.checkpoint is None else read_checkpoint(request.checkpoint, ema=request.ema).state_dict
