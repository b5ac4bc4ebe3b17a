"""What an export request asks for before anything is converted: the model, and how it is quantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.data.labels import read_labels
from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.models.factory import LoadedModel, load_model, with_labels
from mobilevit_tools.models.options import parse_options
from mobilevit_tools.normalization import normalized_by
from mobilevit_tools.progress import Progress
from mobilevit_tools.quantization._base import Quantization, plan_own_ranges, plan_quantization
from mobilevit_tools.quantization.calibration import DEFAULT_SIZE, load_calibration
from mobilevit_tools.tasks.registry import settle

if TYPE_CHECKING:
    from mobilevit_tools.exporters._base import ExportSpec
    from mobilevit_tools.models.learnt import Learnt


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


def plan_requested(
    requests: Sequence[ExportRequest], loaded: LoadedModel, progress: Progress
) -> list[Quantization | None]:
    """Return how each artifact is quantized; all of one call are calibrated on the same photos."""
    from mobilevit_tools.models.own_ranges import has_ranges

    asked, photos = requests[0], None
    if has_ranges(loaded.module):
        return [
            plan_own_ranges(
                loaded.name,
                each.spec.target,
                each.spec.precision,
                calibration=each.calibration,
                max_drop=each.max_drop,
                rewrites=each.rewrites,
            )
            for each in requests
        ]
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
