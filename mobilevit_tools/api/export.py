"""Export a model to one or more targets, each artifact proved against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.accuracy_bound import AccuracyBound
from mobilevit_tools.api.artifact import make_artifact
from mobilevit_tools.api.description import describe_model
from mobilevit_tools.api.given import GivenModule, given_module
from mobilevit_tools.artifacts.exported import ExportedArtifact, ExportResult
from mobilevit_tools.data.class_order import ClassOrder
from mobilevit_tools.data.contract import TaskName
from mobilevit_tools.data.labels import read_labels
from mobilevit_tools.errors import GateError, MvtError, UsageError
from mobilevit_tools.exporters._base import check_packages
from mobilevit_tools.exporters.request import ExportRequest, requests_for
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.models.factory import LoadedModel, find_learnt, load_model, with_labels
from mobilevit_tools.models.options import OptionValue, option_texts, parse_options
from mobilevit_tools.models.references import folder_name
from mobilevit_tools.normalization import channels_text, normalized_by
from mobilevit_tools.process_state import restoring
from mobilevit_tools.progress import Progress, numbered, silent
from mobilevit_tools.quantization._base import Quantization, plan_quantization
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE, load_calibration
from mobilevit_tools.quantization.share import too_little
from mobilevit_tools.targets.registry import find_target, named_targets
from mobilevit_tools.tasks.registry import settle
from mobilevit_tools.writing import check_destination

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.exporters._base import ExportSpec
    from mobilevit_tools.models.learnt import Learnt
    from mobilevit_tools.models.own_card import Card


@restoring
def export(
    model: str | nn.Module,
    *,
    name: str | None = None,
    card: Card | Mapping[str, object] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    targets: str | Sequence[str] = "all",
    output: str | Path = "out",
    checkpoint: str | Path | None = None,
    ema: bool | None = None,
    random_weights: bool = False,
    num_classes: int | None = None,
    labels: Sequence[str] | str | Path | None = None,
    input_size: tuple[int, int] | None = None,
    backend: str | None = None,
    precision: str = "fp32",
    batch: int = 1,
    rewrites: Sequence[str] | None = None,
    fp16_keep: Sequence[str] | None = None,
    calibration: str | Path | None = None,
    calibration_size: int | None = None,
    calibration_method: str | None = None,
    least_quantized: float | None = None,
    gates: Sequence[str] = (),
    max_drop: float | None = None,
    eval_data: str | Path | None = None,
    class_order: ClassOrder | None = None,
    task: TaskName | None = None,
    upsample: bool = False,
    class_map: bool = False,
    images: Sequence[Path] | None = None,
    options: Mapping[str, OptionValue] | None = None,
    overwrite: bool = False,
    keep_failed: bool = False,
    bundle: bool = False,
    progress: Progress = silent,
    **target_options: bool | int | str | None,
) -> ExportResult:
    """Export ``model`` to one or more targets and verify every artifact.

    Args:
        model: A name, as ``mvt export`` takes it, or a :class:`torch.nn.Module` that takes images (B, 3, H, W). The
            module stays as it is: what is exported is a copy, in evaluation mode and float32 on the CPU.
        name: A module: what its artifacts and their folder are called; by default the name of its class.
        card: A module: what is known of it, a :class:`~mobilevit_tools.Card` or a dict with some of its fields.
        mean: Per-channel mean on the 0-1 scale; by default the model's own, or the card's, which is ImageNet's.
        std: Per-channel standard deviation on the 0-1 scale, likewise.
        targets: Target names, or ``all``.
        output: The folder that receives ``MODEL/TARGET-BACKEND-PRECISION/``.
        checkpoint: A path or ``hf://owner/repo/file``.
        ema: Take the checkpoint's moving average (True), its raw weights (False), or the average if there (None).
        random_weights: Allow random weights; the manifest says so.
        num_classes: The class count; by default the checkpoint's.
        labels: Class names in index order, or the file that holds them.
        input_size: Height and width in pixels; by default the model's own, or the card's.
        backend: The ExecuTorch backend.
        precision: A precision of the target; see :mod:`mobilevit_tools.targets.precisions`.
        batch: Images per inference.
        rewrites: Names of the deployment rewrites to apply; by default those of the target, empty for none.
        fp16_keep: Half precision: operators or modules to keep in float32; by default the least that meets the gate.
        calibration: A folder of photos on which ``int8`` measures the ranges of activations.
        calibration_size: How many of them to use; by default 200.
        calibration_method: How measured values become ranges; by default what suits the target.
        gates: Stricter gates than mvt's own, each ``PRECISION:FIGURE=VALUE``, such as ``fp16:snr=50``.
        least_quantized: Percent of the weights, and of the multiply-accumulates with them, that must be quantized in a
            quantized artifact; by default 90. What ``max_drop`` keeps counts for nothing.
        max_drop: Points of top-1 that a quantized artifact may lose on ``eval_data``; the fewest operators that this
            needs are kept in floating point.
        eval_data: Labelled photos, as :func:`mobilevit_tools.evaluate` takes them.
        class_order: How folders of theirs without labels' names are classes: ``index``, ``text`` or ``natural``.
        task: What the outputs mean: ``classify``, ``segment``, ``detect``, ``embed`` or ``raw``; by default what the
            model's card says, or else what they hold.
        upsample: Segmentation: resize the map to the input's size.
        class_map: Segmentation: give the class of each pixel in place of the scores.
        images: Photos to verify with, of more than 256 as many, evenly chosen; by default the bundled ones.
        options: Options of the model's builder.
        overwrite: Replace existing artifacts.
        keep_failed: Keep an artifact that failed its gate, marked as failed in its manifest.
        bundle: Write a golden bundle beside each artifact: an input, its expected output, and an app's code for both.
        progress: Told of every step.
        target_options: Options of some targets' own, such as ``opset=18``: the fields of their ``options`` classes in
            :mod:`mobilevit_tools.targets`.

    Raises:
        UsageError: The arguments contradict each other, a target cannot do what was asked, or no target takes it.
        BadInputError: The model, checkpoint, labels, photos or destination cannot be used.
        MissingDependencyError: A package that one of the targets needs is not installed.
        GateError: An artifact does not compute the model.

    What was finished before an error stays, and the error's ``result`` is the :class:`ExportResult` of it.

    Example:
        >>> made = mvt.export(net, name="small", targets="onnx", input_size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1))
        >>> made.artifacts[0].path.as_posix(), made.artifacts[0].parity.status
        ('out/small/onnx-fp32/model.onnx', 'passed')
        >>> net.training
        True
    """
    of_module = find_learnt(checkpoint) if checkpoint is not None and not isinstance(model, str) else None
    given = given_module(
        model,
        name=name,
        card=card,
        overrides={} if isinstance(model, str) else {"mean": mean, "std": std},
        of_names={
            "checkpoint": checkpoint if of_module is None else None,
            "ema": ema,
            "random_weights": random_weights,
            "num_classes": num_classes,
            "options": options or None,
        },
    )
    called = given.name if given is not None else str(model)
    requests = requests_for(
        named_targets([targets] if isinstance(targets, str) else targets),
        model=called,
        precision=precision,
        backend=backend,
        checkpoint=_text(checkpoint),
        ema=ema,
        random_weights=random_weights,
        num_classes=num_classes,
        labels=_text(labels) if isinstance(labels, str | Path) else None,
        input_size=None if input_size is None else f"{input_size[0]}x{input_size[1]}",
        options=option_texts(options or {}),
        batch=batch,
        target_options=target_options,
        rewrites=None if rewrites is None else tuple(rewrites),
        fp16_keep=None if fp16_keep is None else tuple(fp16_keep),
        calibration=_text(calibration),
        calibration_size=calibration_size,
        calibration_method=calibration_method,
        least_quantized=least_quantized,
        gates=tuple(gates),
        max_drop=max_drop,
        eval_data=_text(eval_data),
        class_order=class_order,
        task=task,
        upsample=upsample,
        class_map=class_map,
        mean=channels_text(mean) if isinstance(model, str) else None,
        std=channels_text(std) if isinstance(model, str) else None,
    )
    finals = [Path(output) / folder_name(called) / request.spec.variant for request in requests]
    _check_possible(requests, finals, overwrite=overwrite)
    with progress(f"Loading {called}"):
        loaded = _load(given, requests, input_size, labels, of_module, bundle=bundle)
    _check_batches(loaded, requests, progress)
    plans = _plan(requests, loaded, progress)
    bound = None if max_drop is None or eval_data is None else AccuracyBound(max_drop, Path(eval_data), class_order)
    with progress("Counting MACs"):
        record = describe_model(loaded, options or {})
    artifacts: list[ExportedArtifact] = []

    def finished() -> ExportResult:
        weights = loaded.weights
        return ExportResult(called, weights.random, weights.ema, tuple(artifacts), weights.left_out, loaded.fused)

    for number, (request, plan, final) in enumerate(zip(requests, plans, finals, strict=True), start=1):
        try:
            made = make_artifact(
                loaded,
                record,
                request,
                plan,
                final,
                bound=bound,
                images=images,
                overwrite=overwrite,
                keep_failed=keep_failed,
                bundle=bundle,
                progress=progress if len(requests) == 1 else numbered(progress, number, len(requests)),
            )
        except MvtError as error:
            if artifacts:  # they stay, and whoever called is told of them
                error.result = finished()
            raise
        artifacts.append(made)
    failed = [artifact for artifact in artifacts if artifact.parity.status == "failed"]
    if failed:
        raise GateError(
            "; ".join(f"{artifact.target} {artifact.precision}: {artifact.parity.reason}" for artifact in failed) + ".",
            hint=_hint(failed, least_quantized, keep_failed=keep_failed),
            result=finished(),
        )
    return finished()


def _check_possible(requests: Sequence[ExportRequest], finals: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse what cannot end well before any work is done for it."""
    for final in finals:
        check_destination(final, overwrite=overwrite)
    for request in requests:
        spec = request.spec
        check_packages(spec.target, find_target(spec.target).running)
        if request.calibration is None:
            plan_quantization(spec.target, spec.precision, None)


def _load(
    given: GivenModule | None,
    requests: Sequence[ExportRequest],
    input_size: tuple[int, int] | None,
    labels: Sequence[str] | str | Path | None,
    of_module: Learnt | None,
    *,
    bundle: bool,
) -> LoadedModel:
    """Load the model as all of the requests have it, with its labels."""
    asking = next((each for each in requests if each.own_options.suppressed), requests[0])
    if given is None:
        loaded = load_requested(asking, bundle=bundle)
        return loaded if labels is None or isinstance(labels, str | Path) else with_labels(loaded, labels)
    return with_labels(
        settle_requested(given.load(input_size, learnt=of_module), asking, bundle=bundle), _names(labels)
    )


def _check_batches(loaded: LoadedModel, requests: Sequence[ExportRequest], progress: Progress) -> None:
    if any(each.spec.batch > 1 or each.spec.options.free_batch for each in requests):
        from mobilevit_tools.models.trial import check_batches

        with progress("Running a test batch"):
            check_batches(loaded.name, loaded.module, loaded.preprocessing.input_size)


def _plan(requests: Sequence[ExportRequest], loaded: LoadedModel, progress: Progress) -> list[Quantization | None]:
    """Return how each artifact is quantized; all of one call are calibrated on the same photos."""
    asked, photos = requests[0], None
    if asked.calibration is not None:
        count = DEFAULT_SIZE if asked.calibration_size is None else asked.calibration_size
        photos = load_calibration(Path(asked.calibration), loaded.preprocessing, count, progress)
    return [
        with_learnt(
            plan_quantization(each.spec.target, each.spec.precision, photos, each.calibration_method),
            loaded.learnt,
            each.spec,
        )
        for each in requests
    ]


def with_learnt(plan: Quantization | None, learnt: Learnt | None, spec: ExportSpec) -> Quantization | None:
    """Return a plan with the weights of a fine-tuned checkpoint, which an artifact in floating point does not take.

    Raises:
        UsageError: They are for another target or precision.
    """
    if plan is None or learnt is None:
        return plan
    for_what = learnt.record.deployment, learnt.record.precision
    if for_what != (spec.deployment, spec.precision):
        raise UsageError(
            f"{learnt.source} is fine-tuned for {' '.join(for_what)}, not for {spec.deployment} {spec.precision}.",
            hint="Export it for that, in fp32 or fp16, or run `mvt finetune` for this one.",
            code="learnt_elsewhere",
        )
    return replace(plan, learnt=learnt)


def _hint(failed: Sequence[ExportedArtifact], least: float | None, *, keep_failed: bool) -> str | None:
    removed = "The failed artifact was removed; --keep-failed keeps it for inspection."
    little = any(each.quantized is not None and too_little(each.quantized, least) for each in failed)
    accepts = "--least-quantized PERCENT lowers the required share."
    return " ".join([removed] * (not keep_failed) + [accepts] * little) or None


def load_requested(request: ExportRequest, *, bundle: bool = False) -> LoadedModel:
    """Load the model that a request is for, with the weights and labels that it names.

    Raises:
        UsageError: The model does not take one of its options.
        BadInputError: The model, its weights or its labels cannot be used.
    """
    loaded = load_model(
        request.model,
        num_classes=request.num_classes,
        checkpoint=request.checkpoint,
        ema=request.ema,
        random_weights=request.random_weights,
        input_size=parse_size(request.input_size),
        options=parse_options(request.options),
    )
    loaded = replace(loaded, preprocessing=normalized_by(loaded.preprocessing, request.mean, request.std))
    loaded = settle_requested(loaded, request, bundle=bundle)
    return with_labels(loaded, None if request.labels is None else read_labels(Path(request.labels)))


def settle_requested(loaded: LoadedModel, request: ExportRequest, *, bundle: bool = False) -> LoadedModel:
    """Return a model as artifacts of the task that a request names compute it.

    Raises:
        UsageError: The request asks for maps, and the task has none.
        BadInputError: The model's outputs are not such as the task is about.
    """
    settled = settle(loaded, request.task, upsample=request.upsample)
    if request.class_map and settled.returns != "score_map":
        raise UsageError(
            f"--class-map gives a segmenter's classes, and the task of {loaded.name} is {settled.task}.",
            hint="Give --task segment, or omit --class-map." if settled.task == "raw" else "Omit --class-map.",
        )
    if request.class_map and bundle:
        raise UsageError(
            "A bundle compares numbers and cannot distinguish a near-tie between classes from an error.",
            hint="Omit --class-map or --bundle: a bundle of the scores checks the app.",
        )
    if request.own_options.suppressed and settled.returns != "boxes":
        raise UsageError(
            f"--nms requires a detector, and the task of {loaded.name} is {settled.task}.", hint="Omit --nms."
        )
    if request.own_options.suppressed and bundle:
        raise UsageError(
            "A bundle compares numbers and cannot distinguish a near-tie between boxes from an error.",
            hint="Omit --nms or --bundle: a bundle of boxes and scores checks the app.",
        )
    if request.max_drop is not None and settled.returns != "logits":
        raise UsageError(
            f"--max-drop bounds the loss of top-1, and the task of {loaded.name} is {settled.task}.",
            hint="Omit it.",
        )
    return settled


def _names(labels: Sequence[str] | str | Path | None) -> Sequence[str] | None:
    return read_labels(Path(labels)) if isinstance(labels, str | Path) else labels


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
