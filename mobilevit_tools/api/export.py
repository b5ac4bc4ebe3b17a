"""Export a model to one or more targets, each artifact proved against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.api.accuracy_bound import AccuracyBound
from mobilevit_tools.api.description import describe_model
from mobilevit_tools.api.given import GivenModule, given_module
from mobilevit_tools.api.requested import load_requested, plan_requested, settle_requested
from mobilevit_tools.api.share import Share
from mobilevit_tools.api.shares import POSSIBLE, Machine
from mobilevit_tools.api.side_by_side import SideBySide
from mobilevit_tools.artifacts.exported import ExportedArtifact, ExportResult
from mobilevit_tools.data.class_order import ClassOrder
from mobilevit_tools.data.contract import TaskName
from mobilevit_tools.data.labels import read_labels
from mobilevit_tools.errors import GateError, MvtError, UsageError
from mobilevit_tools.exporters._base import check_packages
from mobilevit_tools.exporters.request import ExportRequest, requests_for
from mobilevit_tools.input_size import Size, as_size, size_text
from mobilevit_tools.models.factory import LoadedModel, find_learnt, with_labels
from mobilevit_tools.models.options import OptionValue, option_texts
from mobilevit_tools.models.references import folder_name, is_file_reference
from mobilevit_tools.normalization import channels_text
from mobilevit_tools.process_state import restoring
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.quantization.share import too_little
from mobilevit_tools.several import several
from mobilevit_tools.targets.registry import find_target, named_targets
from mobilevit_tools.writing import check_destination

if TYPE_CHECKING:
    from torch import nn

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
    input_size: Size | None = None,
    backend: str | None = None,
    precision: str = "fp32",
    batch: int = 1,
    rewrites: str | Sequence[str] | None = None,
    fp16_keep: str | Sequence[str] | None = None,
    calibration: str | Path | None = None,
    calibration_size: int | None = None,
    calibration_method: str | None = None,
    least_quantized: float | None = None,
    gates: str | Sequence[str] = (),
    max_drop: float | None = None,
    eval_data: str | Path | None = None,
    class_order: ClassOrder | None = None,
    task: TaskName | None = None,
    upsample: bool = False,
    class_map: bool = False,
    images: str | Path | Sequence[str | Path] | None = None,
    options: Mapping[str, OptionValue] | None = None,
    overwrite: bool = False,
    keep_failed: bool = False,
    bundle: bool = False,
    jobs: int | None = 1,
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
        input_size: ``224``, or height and width in pixels; by default the model's own, or the card's.
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
        jobs: The most processes that convert targets side by side, each of which loads the model by its name; None for
            as many as pay and as this machine has idle cores and memory for. A module in memory is converted in this
            process, and so is what ``max_drop`` searches, and all on Windows.
        progress: Told of every step, with ``jobs`` other than 1 by several threads.
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
    machine = Machine()
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
    if jobs is not None and jobs < 1:
        raise UsageError(f"At least one process converts, not {jobs}.")
    size = as_size(input_size)
    called = given.name if given is not None else str(model)
    requests = requests_for(
        named_targets(targets),
        model=called,
        precision=precision,
        backend=backend,
        checkpoint=_text(checkpoint),
        ema=ema,
        random_weights=random_weights,
        num_classes=num_classes,
        labels=_text(labels) if isinstance(labels, str | Path) else None,
        input_size=size_text(size),
        options=option_texts(options or {}),
        batch=batch,
        target_options=target_options,
        rewrites=None if rewrites is None else several(rewrites),
        fp16_keep=None if fp16_keep is None else several(fp16_keep),
        calibration=_text(calibration),
        calibration_size=calibration_size,
        calibration_method=calibration_method,
        least_quantized=least_quantized,
        gates=several(gates),
        max_drop=max_drop,
        eval_data=_text(eval_data),
        class_order=class_order,
        task=task,
        upsample=upsample,
        class_map=class_map,
        mean=channels_text(mean) if isinstance(model, str) else None,
        std=channels_text(std) if isinstance(model, str) else None,
    )
    finals = tuple(Path(output) / folder_name(called) / request.spec.variant for request in requests)
    ready = is_file_reference(called) if given is None else given.has_ranges
    _check_possible(requests, finals, overwrite=overwrite, measured=not ready)
    with progress(f"Loading {called}"):
        loaded = _load(given, requests, size, labels, of_module, bundle=bundle)
    bound = None if max_drop is None or eval_data is None else AccuracyBound(max_drop, Path(eval_data), class_order)
    # A search measures latencies, which nothing is to disturb.
    apart = POSSIBLE and given is None and bound is None
    processes = 1 if not apart else machine.processes() if jobs is None else jobs
    return _convert(
        loaded,
        requests,
        finals,
        SideBySide([each.target for each in requests], processes, progress),
        options=options or {},
        bound=bound,
        images=None if images is None else tuple(Path(each) for each in several(images)),
        overwrite=overwrite,
        keep_failed=keep_failed,
        bundle=bundle,
        progress=progress,
    )


def _convert(
    loaded: LoadedModel,
    requests: tuple[ExportRequest, ...],
    finals: tuple[Path, ...],
    side_by_side: SideBySide,
    *,
    options: Mapping[str, OptionValue],
    bound: AccuracyBound | None,
    images: tuple[Path, ...] | None,
    overwrite: bool,
    keep_failed: bool,
    bundle: bool,
    progress: Progress,
) -> ExportResult:
    """Make all artifacts of a loaded model; the arguments and errors are those of :func:`export`."""

    def finished() -> ExportResult:
        weights, made = loaded.weights, side_by_side.made
        artifacts = tuple(made[index] for index in sorted(made))
        return ExportResult(requests[0].model, weights.random, weights.ema, artifacts, weights.left_out, loaded.fused)

    try:
        with side_by_side:
            _check_batches(loaded, requests, progress)
            plans = plan_requested(requests, loaded, progress)
            with progress("Counting MACs"):
                record = describe_model(loaded, options)
            whole = Share(
                requests=requests,
                finals=finals,
                chosen=tuple(range(len(requests))),
                asking=_asking(requests),
                record=record,
                digest=None,
                labels=loaded.labels,
                images=images,
                overwrite=overwrite,
                keep_failed=keep_failed,
                bundle=bundle,
            )
            side_by_side.make_all(whole, loaded, plans, bound=bound)
    except MvtError as error:
        if side_by_side.made:  # they stay, and whoever called is told of them
            error.result = finished()
        raise
    failed = [artifact for artifact in finished().artifacts if artifact.parity.status == "failed"]
    if failed:
        raise GateError(
            "; ".join(f"{artifact.target} {artifact.precision}: {artifact.parity.reason}" for artifact in failed) + ".",
            hint=_hint(failed, requests[0].least_quantized, keep_failed=keep_failed),
            result=finished(),
        )
    return finished()


def _check_possible(
    requests: Sequence[ExportRequest], finals: Sequence[Path], *, overwrite: bool, measured: bool
) -> None:
    """Refuse what cannot end well before any work is done for it; ranges of the model's own need no photos."""
    for final in finals:
        check_destination(final, overwrite=overwrite)
    for request in requests:
        spec = request.spec
        check_packages(spec.target, find_target(spec.target).running)
        if request.calibration is None and measured:
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
    asking = _asking(requests)
    if given is None:
        loaded = load_requested(asking, bundle=bundle)
        return loaded if labels is None or isinstance(labels, str | Path) else with_labels(loaded, labels)
    return with_labels(
        settle_requested(given.load(input_size, learnt=of_module), asking, bundle=bundle), _names(labels)
    )


def _asking(requests: Sequence[ExportRequest]) -> ExportRequest:
    """Return the request that asks the most of the model."""
    return next((each for each in requests if each.own_options.suppressed), requests[0])


def _check_batches(loaded: LoadedModel, requests: Sequence[ExportRequest], progress: Progress) -> None:
    if any(each.spec.batch > 1 or each.spec.options.free_batch for each in requests):
        from mobilevit_tools.models.trial import check_batches

        with progress("Running a test batch"):
            check_batches(loaded.name, loaded.module, loaded.preprocessing.input_size)


def _hint(failed: Sequence[ExportedArtifact], least: float | None, *, keep_failed: bool) -> str | None:
    removed = "The failed artifact was removed; --keep-failed keeps it for inspection."
    little = any(each.quantized is not None and too_little(each.quantized, least) for each in failed)
    accepts = "--least-quantized PERCENT lowers the required share."
    return " ".join([removed] * (not keep_failed) + [accepts] * little) or None


def _names(labels: Sequence[str] | str | Path | None) -> Sequence[str] | None:
    return read_labels(Path(labels)) if isinstance(labels, str | Path) else labels


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
