"""Find the fewest operators to keep in floating point for a bounded loss of accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mobilevit_tools.api.evaluate import evaluate_session
from mobilevit_tools.artifacts.artifact import Artifact
from mobilevit_tools.errors import GateError, UsageError
from mobilevit_tools.exporters._base import Exporter, ExportSpec, Half
from mobilevit_tools.exporters.refusals import naming_refusals
from mobilevit_tools.profiling.host import compare_on_host, profile_on_host
from mobilevit_tools.progress import Progress
from mobilevit_tools.quantization._base import Quantization, SearchStep
from mobilevit_tools.quantization.search import smallest_prefix
from mobilevit_tools.runtimes.registry import open_made
from mobilevit_tools.targets.registry import find_target
from mobilevit_tools.verification.reference import Reference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from mobilevit_tools.data.class_order import ClassOrder
    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.data.labelled import LabelledImages
    from mobilevit_tools.profiling.statistics import Comparison


@dataclass(frozen=True)
class AccuracyBound:
    """How much accuracy an artifact may lose.

    Attributes:
        max_drop: Points of top-1 below the PyTorch model's.
        data: Labelled photos: an ImageFolder or a CSV of ``path,label``.
        class_order: How folders without labels' names are classes; None leaves it to the predictions.
    """

    max_drop: float
    data: Path
    class_order: ClassOrder | None = None


def keep_within(
    bound: AccuracyBound,
    module: nn.Module,
    quantization: Quantization,
    *,
    exporter: Exporter,
    spec: ExportSpec,
    contract: Contract,
    num_classes: int,
    reference: Reference,
    half: Half | None,
    progress: Progress,
) -> Quantization:
    """Return ``quantization`` with the fewest operators kept that keeps the loss of accuracy within ``bound``.

    Operators are kept in the order of the error that each causes when it alone is quantized; every candidate is
    exported, evaluated and, where the target runs here, timed.

    Args:
        bound: What is allowed.
        module: What is exported, after rewriting.
        quantization: What to do, without kept operators.
        exporter: The target's exporter.
        spec: What to export.
        contract: The artifact's contract.
        num_classes: The class count.
        reference: The PyTorch float32 model.
        half: What must not compute in half precision, as for the artifact itself.
        progress: Told of every step.

    Raises:
        BadInputError: The photos or their labels cannot be used, or the converter does not take the model.
        GateError: Nothing short of keeping every operator is within the bound.
    """
    from mobilevit_tools.data.labelled import read_labelled
    from mobilevit_tools.quantization.sensitivity import rank_operators

    photos = read_labelled(bound.data, contract.labels, num_classes, bound.class_order)
    with progress("Ranking operators by their quantization error"):
        ranking = rank_operators(module, _ranking_inputs(quantization, contract, spec.batch), quantization.precision)
    expected = _remembered(reference)
    tried: dict[int, SearchStep] = {}
    suffix = find_target(spec.target).suffix
    with TemporaryDirectory(prefix="mvt-search-") as folder:

        def accepts(count: int) -> bool:
            keep = tuple(each.weight for each in ranking[:count])
            path = Path(folder, f"{count}{suffix}")
            with progress(f"Trying {spec.variant} with {count} of {len(ranking)} operators in floating point"):
                with naming_refusals(contract, spec, module):
                    exporter.lower(module, spec, contract, path, replace(quantization, keep=keep), half=half)
                first = Path(folder, f"0{suffix}")  # what a search tries first
                tried[count] = _judge(
                    path, contract, photos, expected, data=bound.data, kept=count, first=first, progress=progress
                )
            return tried[count].drop <= bound.max_drop

        count = smallest_prefix(len(ranking), accepts)
    if ranking and count == len(ranking):
        raise GateError(
            f"{spec.variant} stays within {bound.max_drop} points of top-1 only with nothing quantized.",
            hint="Allow a larger --max-drop, or use a precision with more bits.",
        )
    return replace(quantization, keep=tuple(each.weight for each in ranking[:count]), search=tuple(tried.values()))


def _judge(
    path: Path,
    contract: Contract,
    photos: LabelledImages,
    reference: Reference,
    *,
    data: Path,
    kept: int,
    first: Path,
    progress: Progress,
) -> SearchStep:
    made = Artifact(path)
    with open_made(path) as session:
        result = evaluate_session(
            session, contract, reference, photos, artifact=made, source=data, threads=1, progress=progress
        )
    agreement, own = result.agreement, result.reference_top1
    if agreement is None or own is None:
        raise AssertionError("the reference was run")
    latency, against_first = _time(path, first)
    return SearchStep(
        kept=kept,
        size_bytes=made.file.size_bytes,
        latency_ms=latency,
        relative_latency=against_first.ratio if against_first else None,
        relative_interval=against_first.interval if against_first else None,
        top1=result.top1,
        agreement=agreement,
        drop=100 * (own - result.top1),
    )


def _time(path: Path, first: Path) -> tuple[float | None, Comparison | None]:
    """Return an artifact's median latency, in turns with the first one, which a busy moment hits alike."""
    try:
        if path == first:
            alone = profile_on_host(path, rigor="quick").latency_ms
            return (alone.p50 if alone else None), None
        both = compare_on_host(first, path, rigor="quick")
    except UsageError:  # Core ML has no latency off macOS
        return None, None
    return (both.b.latency_ms.p50 if both.b.latency_ms else None), both.comparison


def _ranking_inputs(quantization: Quantization, contract: Contract, batch: int) -> Sequence[NDArray[np.float32]]:
    """Return a few batches of the calibration's photos, or of the bundled ones where nothing is calibrated."""
    import numpy as np

    from mobilevit_tools.data.bundled import verification_photos
    from mobilevit_tools.data.images import load_image
    from mobilevit_tools.quantization.sensitivity import RANKING_PHOTOS

    if quantization.calibration is not None:
        return list(islice(quantization.calibration.batches(batch), RANKING_PHOTOS))
    recipe = contract.preprocessing
    photos = [recipe.normalize(recipe.pixels(load_image(path))) for path in verification_photos()]
    return [np.stack([photo] * batch) for photo in photos]


def _remembered(reference: Reference) -> Reference:
    """Return a reference that runs once for every distinct input."""
    known: dict[bytes, list[NDArray[Any]]] = {}

    def run(tensor: NDArray[np.float32]) -> list[NDArray[Any]]:
        key = hashlib.sha256(tensor.tobytes()).digest()
        if key not in known:
            known[key] = reference(tensor)
        return known[key]

    return run
