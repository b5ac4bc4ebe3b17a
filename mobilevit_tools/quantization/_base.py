"""What is quantized, and what every quantizer is told.

Quantized are the operators that hold trained weights: convolutions and linear layers. Everything between them stays in
floating point, because that is where eight bits break a vision transformer: softmax and its inputs, the products of
attention, the normaliser of linear attention, LayerNorm, and the residual sums, whose range grows with depth. Of the
operators with weights, too, some can be kept in floating point, by the names of their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobilevit_tools.errors import UsageError
from mobilevit_tools.models.learnt import Learnt, LearntRecord
from mobilevit_tools.quantization.calibration import Calibration, CalibrationRecord
from mobilevit_tools.targets.precisions import CALIBRATED, FLOATING, PRECISIONS
from mobilevit_tools.targets.registry import TARGETS, find_target

ERROR_FEEDBACK = "error-feedback"
"""The method of weights that are rounded by photos, as the manifest names it."""
OWN_TRAINING = "own-training"
"""The method of ranges that a model learnt in its own training, as the manifest names it."""
OWN_PRECISION = "int8"
"""What such a model is exported in."""


@dataclass(frozen=True)
class SearchStep:
    """One artifact on the way to a bounded loss of accuracy.

    Attributes:
        kept: How many operators with weights stayed in floating point.
        size_bytes: Its size.
        latency_ms: Its median latency on this host with one thread; None where there is none to be had.
        relative_latency: Its time over that of the first artifact, measured in turns; None for the first.
        relative_interval: The 95 % interval of that; None where the runs were too few for one.
        top1: Its top-1, a fraction.
        agreement: Share of photos with the PyTorch model's top-1.
        drop: Points of top-1 below the PyTorch model's.
    """

    kept: int
    size_bytes: int
    latency_ms: float | None
    relative_latency: float | None
    relative_interval: tuple[float, float] | None
    top1: float
    agreement: float
    drop: float


@dataclass(frozen=True)
class QuantizationRecord:
    """How an artifact was quantized, for the manifest.

    Attributes:
        method: How measured activations became ranges, or ``error-feedback`` where photos chose how weights are
            rounded, or ``own-training`` where the model came with its ranges; None where nothing was measured.
        calibration: The photos; None where nothing was measured.
        kept: Operators with weights that stayed in floating point, by the names of their weights.
        search: What each number of kept operators cost and gained, in the order in which they were tried; empty where
            nothing was searched.
        learnt: How its weights were fine-tuned; None where they were not.
    """

    method: str | None
    calibration: CalibrationRecord | None
    kept: tuple[str, ...]
    search: tuple[SearchStep, ...] = ()
    learnt: LearntRecord | None = None


@dataclass(frozen=True)
class Quantization:
    """How to quantize a model.

    Attributes:
        precision: A member of ``PRECISIONS`` that is not a floating one.
        calibration: The photos, where the precision needs them.
        method: How measured activations become ranges; empty where nothing is measured.
        keep: Operators to leave in floating point, by the names of their weights.
        search: How ``keep`` was found, where it was searched.
        learnt: Weights that the quantized model has learnt, in place of the float model's.
    """

    precision: str
    calibration: Calibration | None = None
    method: str = ""
    keep: tuple[str, ...] = ()
    search: tuple[SearchStep, ...] = ()
    learnt: Learnt | None = None

    @property
    def own_ranges(self) -> bool:
        """Whether the model has ranges of its own, so that it is quantized already."""
        return self.method == OWN_TRAINING

    @property
    def record(self) -> QuantizationRecord:
        """What the manifest says of it."""
        measured = self.calibration.record if self.calibration else None
        learnt = self.learnt.record if self.learnt else None
        return QuantizationRecord(self.method or None, measured, self.keep, self.search, learnt)


def check_calibrated(precisions: Sequence[str], **given: object) -> None:
    """Refuse options of a calibration where nothing is calibrated: they would be dropped without a word.

    Args:
        precisions: Members of ``PRECISIONS``.
        given: The options; None stands for one that is not given.

    Raises:
        UsageError: One is given, and none of the precisions measures activations.
    """
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if named and not set(precisions) & set(CALIBRATED):
        raise UsageError(
            f"None of {', '.join(precisions)} takes {' or '.join(named)}.",
            hint=f"Omit it; it is for {', '.join(CALIBRATED)}.",
        )


def plan_quantization(
    target: str,
    precision: str,
    calibration: Calibration | None,
    method: str | None = None,
    keep: tuple[str, ...] = (),
) -> Quantization | None:
    """Return how to quantize for a target, or None where the precision is a floating one.

    Raises:
        UsageError: The precision needs photos and there are none, or the target does not have the method.
    """
    if precision in FLOATING:
        return None
    if not PRECISIONS[precision].takes_photos:
        return Quantization(precision, keep=keep)
    if not PRECISIONS[precision].calibrated:
        if method is not None:
            raise UsageError(
                f"{precision} measures no ranges, so it has no calibration method.",
                hint="Omit --calibration-method.",
                code="unsupported_method",
            )
        return Quantization(precision, calibration, ERROR_FEEDBACK if calibration else "", keep)
    if calibration is None:
        raise UsageError(
            f"{precision} requires calibration photos: activation ranges are measured on them. "
            "Without them the artifact would be wrong.",
            hint="Pass --calibration DIR with a few hundred representative photos.",
            code="no_calibration",
        )
    offered = find_target(target).calibration_methods
    if method is not None and method not in offered:
        raise UsageError(
            f"{target} has no calibration method named {method!r}.",
            hint=f"It has {', '.join(offered)}.",
            code="unsupported_method",
        )
    return Quantization(precision, calibration, method or PRECISIONS[precision].method or offered[0], keep)


def plan_own_ranges(name: str, target: str, precision: str, **given: object) -> Quantization:
    """Return how to export a model that was quantized in training, with the ranges that it has.

    Args:
        name: The model's name, for errors.
        target: The target.
        precision: The precision that was asked for.
        given: Options that only a model in floating point has a use for; None and empty ones are not given.

    Raises:
        UsageError: They are given, it is another precision, or the target does not keep ranges.
    """
    if precision != OWN_PRECISION:
        raise UsageError(
            f"{name} was quantized in training: its weights and ranges have 8 bits, not {precision}.",
            hint=f"Give the precision {OWN_PRECISION}, or the model in floating point.",
            code="own_ranges",
        )
    if not find_target(target).keeps_ranges:
        able = ", ".join(each.name for each in TARGETS.values() if each.keeps_ranges)
        raise UsageError(
            f"{name} was quantized in training, and its ranges cannot be kept for {target}.",
            hint=f"They are kept for {able}. Export the model in floating point with --calibration instead.",
            code="own_ranges",
        )
    named = [f"--{key.replace('_', '-')}" for key, value in given.items() if value]
    if named:
        raise UsageError(
            f"{name} was quantized in training and keeps its ranges: {' and '.join(named)} would change it.",
            hint=f"Omit {' and '.join(named)}.",
            code="own_ranges",
        )
    return Quantization(precision, method=OWN_TRAINING)
