"""Measure an artifact's accuracy on labelled photos, and how often it agrees with its PyTorch model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevit_tools.api.evaluate_others import MEASURED_OTHERWISE, evaluate_other, refuse_truth
from mobilevit_tools.api.evaluation import Evaluation
from mobilevit_tools.api.given import given_artifact
from mobilevit_tools.api.predict import answering_with, classifier_contract
from mobilevit_tools.api.verify import reference_model
from mobilevit_tools.artifacts.artifact import Artifact
from mobilevit_tools.errors import BadInputError, GateError
from mobilevit_tools.process_state import restoring
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.runtimes._base import only_input
from mobilevit_tools.verification.accuracy import (
    TOP_K,
    clearly_best,
    confusions,
    is_in_top,
    wilson_interval,
)
from mobilevit_tools.verification.evaluations import ClassResult, EvalResult, UnreadablePhoto
from mobilevit_tools.verification.reference import Reference, torch_reference
from mobilevit_tools.wording import number_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from mobilevit_tools.data.class_order import ClassOrder
    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.data.labelled import LabelledImages
    from mobilevit_tools.runtimes._base import Session
    from mobilevit_tools.tasks._base import Answering
    from mobilevit_tools.verification.evaluations import DetectEvalResult, RetrievalEvalResult, SegmentEvalResult

MAX_CONFUSIONS = 100


@restoring
def evaluate(
    artifact: str | Path,
    data: str | Path,
    *,
    masks: str | Path | None = None,
    coco: str | Path | None = None,
    model: str | nn.Module | None = None,
    checkpoint: str | Path | None = None,
    ema: bool | None = None,
    reference: bool = True,
    class_order: ClassOrder | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> EvalResult | SegmentEvalResult | DetectEvalResult | RetrievalEvalResult:
    """Measure an artifact on photos whose answers are known, prepared as its contract says.

    A classifier's accuracy, a segmenter's mean intersection over union, a detector's mean average precision, an
    embedding's recall of photos of one class.

    Args:
        artifact: An artifact of any target; a Core ML package runs in the reference runtime.
        data: An ImageFolder or a CSV of ``path,label``; see :func:`mobilevit_tools.data.labelled.read_labelled`. Of a
            segmenter or a detector a folder of photos, of an embedding an ImageFolder.
        masks: Segmentation: a folder with a PNG for each photo, of its name and in its place, that holds the class
            index of each pixel, and 255 where none counts.
        coco: Detection: the photos' boxes, a file in COCO's layout.
        model: The model to agree with, a name or a :class:`torch.nn.Module`, which stays as it is; by default what
            the manifest or the artifact's contract names.
        checkpoint: The model's weights; by default what the manifest names.
        ema: Take the checkpoint's moving average, or not; by default as the manifest says.
        reference: Run the PyTorch model on the same photos, too.
        class_order: How folders without labels' names are classes: ``index`` (the name is the index), ``text`` (in
            sorted order, as torchvision: 0, 1, 10, 2) or ``natural`` (in sorted order, as timm: 0, 1, 2, 10). By
            default the one that the predictions confirm, where these differ.
        threads: Threads of one inference.
        progress: Told of every batch.

    Raises:
        BadInputError: The artifact, the photos, their labels or the model's weights cannot be used, or the model has
            other classes than the artifact.
        UsageError: Nothing says which model to agree with.
        MissingDependencyError: The artifact is a detector, and pycocotools is not installed.
        GateError: The output of a photo is not finite.

    Example:
        >>> result = mvt.evaluate(artifact, "photos", model=net)
        >>> result.images, result.agreement, result.top1 == result.reference_top1
        (3, 1.0, True)
    """
    from mobilevit_tools.data.labelled import read_labelled

    given, source = given_artifact(artifact, "evaluate"), Path(data)
    given.check()
    path, manifest = given.path, given.manifest
    with given.open(threads=threads) as session:
        if (other := _of_another_task(session, path)) is not None:
            run = None
            if reference:
                run = torch_reference(reference_model(other.contract, manifest, model, checkpoint, ema).module)
            return evaluate_other(Evaluation(other, given.file.sha256, source, run, progress), masks, coco, class_order)
        refuse_truth(path, masks=masks, coco=coco)
        contract = classifier_contract(session, path)
        only_input(session)  # before the photos are read, and the first output, which there may not be
        declared = session.outputs[0].shape
        num_classes = len(contract.labels) if contract.labels else declared[-1] if declared else None
        if num_classes is None:
            raise BadInputError(f"{path} does not declare its number of classes.", code="no_contract")
        _check_ranked(path, num_classes)
        photos = read_labelled(source, contract.labels, num_classes, class_order)
        run_reference = None
        if reference:
            loaded = reference_model(contract, manifest, model, checkpoint, ema)
            if loaded.returns != "logits" or loaded.num_classes != num_classes:
                others = {"features": "returns maps", "embedding": "returns an embedding"}
                what = others.get(loaded.returns, f"has {loaded.num_classes} classes")
                raise BadInputError(
                    f"{loaded.name} {what}, and {path} has {num_classes} classes: they cannot be compared.",
                    hint="Give the model that the artifact was made from, or --no-reference.",
                    code="class_count",
                )
            run_reference = torch_reference(loaded.module)
        result = evaluate_session(
            session, contract, run_reference, photos, artifact=given, source=source, threads=threads, progress=progress
        )
    if result.non_finite:
        raise GateError(
            f"{path} returns non-finite values for {result.non_finite} of {result.images} photos.",
            hint="Run `mvt verify` on it, or try another precision.",
            result=result,
        )
    return result


def _of_another_task(session: Session, path: Path) -> Answering | None:
    """Return an artifact whose task is measured otherwise than a classifier's; None for all others."""
    contract = session.contract
    if contract is None or contract.means not in MEASURED_OTHERWISE:
        return None
    return answering_with(session, contract, path)


def evaluate_session(
    session: Session,
    contract: Contract,
    run_reference: Reference | None,
    photos: LabelledImages,
    *,
    artifact: Artifact,
    source: Path,
    threads: int,
    progress: Progress,
) -> EvalResult:
    """Classify labelled photos with an open session; see :func:`evaluate`.

    Raises:
        BadInputError: None of the photos can be read, the artifact's outputs are not what it says of them, or the
            folders' names can be read in several ways of which the predictions confirm none.
    """
    import numpy as np

    info = only_input(session)
    path, sha256 = artifact.path, artifact.file.sha256  # now: by the end there may be another file
    unreadable: list[UnreadablePhoto] = []
    outputs, expected, truths, seconds = [], [], [], 0.0
    count = len(photos.images)
    with progress(f"Evaluating {path.name} on {number_of(count, 'photos')}", count) as advance:
        for pixels, labels in _batches(photos.images, contract, info.batch, unreadable, advance):
            tensor = contract.preprocessing.normalize(pixels)
            fed = info.feed(tensor, pixels)
            started = time.perf_counter()
            logits = session.run(fed)[0]
            seconds += time.perf_counter() - started
            contract.check_logits(logits, len(fed))
            _check_ranked(path, logits.shape[1])
            outputs.append(np.asarray(logits[: len(pixels)], np.float64))
            truths += labels
            if run_reference is not None:
                expected.append(run_reference(tensor)[0])
    if not truths:
        raise BadInputError(f"None of the {len(photos.images)} photos of {source} can be read.", code="no_images")
    computed = np.concatenate(outputs)
    if max(truths) >= computed.shape[1]:
        raise BadInputError(
            f"The photos of {source} are of {max(truths) + 1} classes, and the artifact's output has "
            f"{computed.shape[1]}: it does not have the shape that the artifact declares.",
            code="class_count",
        )
    wanted = np.concatenate(expected) if expected else None
    shown, rule = _settled(photos, np.asarray(truths, np.int64), computed if wanted is None else wanted, source)
    return _summarize(
        computed,
        wanted,
        shown,
        path=path,
        data=source,
        images_per_second=len(truths) / seconds,
        threads=threads,
        label_rule=rule,
        unreadable=tuple(unreadable),
        labels=contract.labels,
        sha256=sha256,
    )


def _check_ranked(path: Path, classes: int) -> None:
    """Refuse an artifact whose answers cannot be ranked: of one score, the only one is always the largest."""
    if classes == 1:
        raise BadInputError(
            f"{path} gives one number for a photo, and accuracy is counted among several classes.",
            hint="`mvt predict` shows the number; `mvt verify` compares it with the PyTorch model.",
            code="single_output",
        )


def _settled(
    photos: LabelledImages, truths: NDArray[np.int64], logits: NDArray[Any], source: Path
) -> tuple[NDArray[np.int64], str]:
    """Return the photos' classes and how they were told; of readings that differ, by the one that logits confirm."""
    import numpy as np

    readings = {each.rule: np.vectorize(photos.relabelled(each).__getitem__)(truths) for each in photos.readings}
    if all(np.array_equal(each, truths) for each in readings.values()):
        return truths, photos.rule
    right = [is_in_top(logits, each, 1) for each in readings.values()]
    counts = {rule: int(each.sum()) for rule, each in zip(readings, right, strict=True)}
    best = clearly_best(right)
    if best is None:
        raise BadInputError(
            f"The folders of {source} match the classes in more than one order, and the predictions confirm "
            "none of them: "
            f"{'; '.join(f'{rule}: {count} of {len(truths)} right' for rule, count in counts.items())}.",
            hint=f"Choose one with --class-order ({', '.join(each.order for each in photos.readings)}), or put "
            "a labels.txt with lines `folder name` beside the folders.",
            code="ambiguous_order",
        )
    rule = list(readings)[best]
    others = "; ".join(f"{count}, if {other}" for other, count in counts.items() if other != rule)
    return readings[rule], f"{rule}: {counts[rule]} of {len(truths)} right ({others})"


def _batches(
    photos: Sequence[tuple[Path, int]],
    contract: Contract,
    batch: int,
    unreadable: list[UnreadablePhoto],
    advance: Callable[[], None],
) -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
    """Yield pixels (up to ``batch``, 3, H, W) and labels; photos that cannot be read go to ``unreadable``."""
    import numpy as np

    from mobilevit_tools.data.images import load_image

    pixels: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for path, label in photos:
        try:
            pixels.append(contract.preprocessing.pixels(load_image(path)))
            labels.append(label)
        except BadInputError as error:
            unreadable.append(UnreadablePhoto(path, error.message))
        if len(pixels) == batch:
            yield np.stack(pixels), labels
            pixels, labels = [], []
        advance()
    if pixels:
        yield np.stack(pixels), labels


def _summarize(
    logits: NDArray[np.float64],
    expected: NDArray[Any] | None,
    truths: NDArray[np.int64],
    *,
    path: Path,
    data: Path,
    images_per_second: float,
    threads: int,
    label_rule: str,
    unreadable: tuple[UnreadablePhoto, ...],
    labels: tuple[str, ...] | None,
    sha256: str,
) -> EvalResult:
    import numpy as np

    names = labels or tuple(map(str, range(logits.shape[1])))
    finite = np.isfinite(logits).all(axis=1)
    right = is_in_top(logits, truths, 1)
    predicted = np.where(finite, np.nan_to_num(logits).argmax(axis=1), -1)
    return EvalResult(
        artifact=path,
        data=data,
        images=len(truths),
        top1=float(right.mean()),
        interval=wilson_interval(int(right.sum()), len(truths)),
        top5=float(is_in_top(logits, truths, TOP_K).mean()),
        agreement=float((predicted == expected.argmax(axis=1)).mean()) if expected is not None else None,
        reference_top1=float(is_in_top(expected, truths, 1).mean()) if expected is not None else None,
        non_finite=int((~finite).sum()),
        images_per_second=images_per_second,
        threads=threads,
        label_rule=label_rule,
        unreadable=unreadable,
        classes=tuple(
            ClassResult(int(i), names[i], int((truths == i).sum()), int(right[truths == i].sum()))
            for i in np.unique(truths)
        ),
        confusions=confusions(predicted[finite], truths[finite], names)[:MAX_CONFUSIONS],
        sha256=sha256,
    )
