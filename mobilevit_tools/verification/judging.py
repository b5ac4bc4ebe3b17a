"""How one input's outputs are judged, and all inputs' together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mobilevit_tools.verification.metrics import Distance, distance, worst
from mobilevit_tools.verification.parity import Conditioning, InputResult, Margins, Parity
from mobilevit_tools.verification.tolerances import NEAR_TIE_MARGIN, NEAR_TIE_SHARE, Limits, Tolerance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import OutputKind
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.reference import Exact

Outputs = Sequence["NDArray[Any]"]
"""What one image gives, output by output, without a batch dimension."""

CONDITIONING_FACTOR = 4.0
"""How many times PyTorch's own float32 error (the worst of several ways to compute it) an artifact may have where that
misses the gate: 12 dB. Where a model amplifies rounding, the ways themselves differ by more than that."""
LEAST_RATIO_DB, LEAST_COSINE, MOST_ABS_REL = 20.0, 0.995, 0.2
"""What is asked for even where float32 can give less: its answers are noise then, and no artifact can be right."""
LEAST_RESPONSE = 0.1
"""Of how much the reference's output changes from input to input, an artifact's has to change by this share."""
NEGLIGIBLE_RESPONSE = 1e-6
"""Of the reference's largest value: a change below it is rounding, and nothing to respond to."""


class Judge(Protocol):
    """The functions of a module that judges outputs of some kind; this one judges all that have a distance."""

    def misfit(self, expected: Sequence[list[NDArray[Any]]], outputs: Sequence[NDArray[Any]]) -> str | None:
        """Say how outputs for a batch do not fit what the reference gives for each of its images."""

    def judge_input(
        self,
        item: VerificationInput,
        wanted: Outputs,
        got: Outputs,
        tolerance: Tolerance,
        *,
        holds: OutputKind,
        exact: Callable[[], Exact | None],
    ) -> InputResult:
        """Judge what an artifact gives for one image."""

    def together(self, results: Sequence[InputResult]) -> InputResult:
        """Return the worst of what was found of one input in several batches."""

    def verdict(self, results: Sequence[InputResult], tolerance: Tolerance, *, unresponsive: bool) -> Parity:
        """Judge all inputs together."""


def misfit(expected: Sequence[list[NDArray[Any]]], outputs: Sequence[NDArray[Any]]) -> str | None:
    """Say how outputs for a batch differ in number or shape from what the reference gives for each of its images."""
    if len(outputs) != len(expected[0]):
        return f"the artifact has {len(outputs)} outputs, not {len(expected[0])}"
    for wanted, got in zip(expected[0], outputs, strict=True):
        if got.shape[1:] != wanted.shape[1:]:
            return f"an output of the artifact has shape {got.shape[1:]}, not {wanted.shape[1:]}"
        rows = got.shape[0] if got.ndim else 0
        if rows != len(expected):
            return f"an output of the artifact has a batch of {rows}, not {len(expected)}"
    return None


def judge_input(
    item: VerificationInput,
    wanted: Outputs,
    got: Outputs,
    tolerance: Tolerance,
    *,
    holds: OutputKind,
    exact: Callable[[], Exact | None],
) -> InputResult:
    """Judge what an artifact gives for one image.

    Args:
        item: The image.
        wanted: What PyTorch gives in float32.
        got: What the artifact gives.
        tolerance: The gate.
        holds: What the first output is.
        exact: Asked for what float64 gives, where the artifact misses the gate from float32.
    """
    result = _compare(item, wanted, got, tolerance, holds=holds)
    if item.kind not in tolerance.judged or not result.distance.finite or tolerance.met_by(result.distance):
        return result
    known = exact()
    if known is None:
        return result
    precise = replace(_compare(item, known.float64, got, tolerance, holds=holds), reference="float64")
    if tolerance.met_by(precise.distance):
        return precise
    own = worst([_apart(known.float64, each, holds=holds) for each in known.float32])
    if tolerance.conditioned.met_by(own) or not own.finite:
        return result
    limits = _relaxed(tolerance, own)
    return replace(
        _compare(item, known.float64, got, limits, holds=holds),
        reference="float64",
        conditioning=Conditioning(own, limits),
    )


def _relaxed(limits: Limits, own: Distance) -> Limits:
    """Return what float32 can give: its own distance from float64 with a margin, where that is beyond the limit.

    Where it can give next to nothing, the limits stay at what an answer has to have.
    """

    def beyond(limit: float, figure: float | None, choose: Callable[[float, float], float]) -> float:
        return limit if figure is None else choose(limit, figure)

    factor = CONDITIONING_FACTOR
    largest = None if own.max_abs_rel is None else own.max_abs_rel * factor
    ratio = None if own.snr_db is None else own.snr_db - 20 * float(np.log10(factor))
    # 1 - cosine grows with the square of the error.
    cosine = None if own.cosine is None else 1 - factor**2 * (1 - own.cosine)
    return Limits(
        None if limits.max_abs_rel is None else min(beyond(limits.max_abs_rel, largest, max), MOST_ABS_REL),
        max(beyond(limits.snr_db, ratio, min), min(limits.snr_db, LEAST_RATIO_DB)),
        max(beyond(limits.cosine, cosine, min), min(limits.cosine, LEAST_COSINE)),
    )


def _apart(wanted: Outputs, got: Outputs, *, holds: OutputKind) -> Distance:
    return worst(
        [
            distance(each, other, logits=holds == "logits" and index == 0 and each.ndim == 1)
            for index, (each, other) in enumerate(zip(wanted, got, strict=True))
        ]
    )


def _compare(
    item: VerificationInput, wanted: Outputs, got: Outputs, limits: Limits, *, holds: OutputKind
) -> InputResult:
    apart = _apart(wanted, got, holds=holds)
    # Without a contract, outputs may as well be maps.
    if holds in ("features", "embedding") or wanted[0].ndim != 1 or wanted[0].size < 2:
        return InputResult(item.name, item.kind, apart, same_top1=None, near_tie=False)
    expected, found = wanted[0].astype(np.float64), got[0].astype(np.float64)
    second, first = np.sort(expected)[-2:]
    error = float(np.sqrt(np.mean((found - expected) ** 2)))
    return InputResult(
        item.name,
        item.kind,
        apart,
        same_top1=int(found.argmax()) == int(expected.argmax()),
        # An error beyond the limits would make a tie of everything.
        near_tie=limits.met_by(apart) and bool(first - second <= NEAR_TIE_MARGIN * error),
    )


def together(results: Sequence[InputResult]) -> InputResult:
    """Return the worst of what was found of one input in several batches."""
    relaxed = [result.conditioning for result in results if result.conditioning is not None]
    exact = any(result.reference == "float64" for result in results)
    return replace(
        results[0],
        distance=worst([result.distance for result in results]),
        same_top1=None if results[0].same_top1 is None else all(result.same_top1 for result in results),
        near_tie=any(result.near_tie for result in results),
        reference="float64" if exact else "float32",
        conditioning=relaxed[0] if relaxed else None,
    )


def verdict(results: Sequence[InputResult], tolerance: Tolerance, *, unresponsive: bool) -> Parity:
    """Hold every figure against its limit.

    Args:
        results: Each input's figures.
        tolerance: The gate.
        unresponsive: Whether the artifact gives almost the same answer to inputs to which the model does not.
    """
    if not results:
        return Parity(status="not_verified", reason="No input could be evaluated.")
    meaningless = _meaningless(results)
    judged = [result for result in results if result.kind in tolerance.judged and result not in meaningless]
    if not judged:
        return Parity(status="not_verified", reason=f"No input is a {' or '.join(tolerance.judged)}.")
    apart = worst([result.distance for result in judged])
    failures = []
    if broken := [result.name for result in results if not result.distance.finite]:
        failures.append(f"non-finite output on {', '.join(broken)}")
    elif apart.max_abs_rel is None or apart.snr_db is None or apart.cosine is None:
        failures.append("the reference is zero but the artifact is not")
    else:
        failures += _missed(judged, tolerance)
    if unresponsive:
        failures.append("its output is nearly constant across inputs")
    held_out = [result for result in results if result.kind == "held-out"]
    pool = [result for result in held_out or judged if result.same_top1 is not None]
    changed = [result for result in pool if not result.same_top1]
    excused = _excused(changed, tolerance, len(held_out or results))
    excused_agreement = 1 - (len(changed) - len(excused)) / len(pool) if pool else None
    if excused_agreement is not None and excused_agreement < tolerance.top1_agreement:
        failures.append(_said_of_changes(changed, excused, pool, tolerance, held_out=bool(held_out)))
    return Parity(
        status="failed" if failures else "passed",
        max_abs_rel=apart.max_abs_rel,
        snr_db=apart.snr_db,
        cosine=apart.cosine,
        top1_agreement=1 - len(changed) / len(pool) if pool else None,
        inputs=len(results),
        held_out=len(held_out),
        reason="; ".join(failures) or None,
        margins=_margins(judged, tolerance, excused_agreement),
        near_ties=tuple(result.name for result in excused),
        results=tuple(results),
    )


def _meaningless(results: Sequence[InputResult]) -> list[InputResult]:
    """Return the stress inputs on which PyTorch's float32 is noise, as many as near-ties may excuse.

    A model that amplifies rounding this far beyond ordinary values cannot be told from its artifact there; on photos
    it has no right artifact.
    """
    noise = [each for each in results if each.kind == "stress" and each.conditioning and each.conditioning.is_noise]
    return noise[: int(NEAR_TIE_SHARE * len(results))]


def _excused(changed: Sequence[InputResult], tolerance: Tolerance, inputs: int) -> list[InputResult]:
    """Return the changes within near-ties, as many as may be excused. Float32 excuses them where it is itself noise."""
    ties = [each for each in changed if each.near_tie and (tolerance.near_ties or each.conditioning is not None)]
    share = tolerance.near_ties or NEAR_TIE_SHARE
    return ties[: int(share * inputs)]


def _said_of_changes(
    changed: Sequence[InputResult],
    excused: Sequence[InputResult],
    pool: Sequence[InputResult],
    tolerance: Tolerance,
    *,
    held_out: bool,
) -> str:
    names = [result.name for result in changed if result not in excused]
    if held_out:
        same = len(pool) - len(names)
        return (
            f"same top-1 on {same} of {len(pool)} photos held out of calibration, below {tolerance.top1_agreement:.0%}"
        )
    left = [result for result in changed if result.near_tie and result not in excused]
    beyond = "; near-ties may excuse at most a tenth of the inputs" if tolerance.near_ties and left else ""
    return f"top-1 changed on {', '.join(names)}{beyond}"


def _limits(result: InputResult, tolerance: Tolerance) -> Limits:
    return tolerance if result.conditioning is None else result.conditioning.limits


def _missed(judged: Sequence[InputResult], tolerance: Tolerance) -> list[str]:
    """Say which figures miss their limits, each by the input that misses it most."""

    def said(
        margin: Callable[[InputResult], float | None], say: Callable[[Distance, Limits], str]
    ) -> Iterable[tuple[str, InputResult]]:
        known = [(value, index) for index, result in enumerate(judged) if (value := margin(result)) is not None]
        if known and min(known)[0] < 0:
            result = judged[min(known)[1]]
            yield say(result.distance, _limits(result, tolerance)), result

    found = [
        *said(
            lambda each: _margin(each, tolerance).max_abs_rel,
            lambda has, limit: (
                f"max-abs {has.max_abs_rel:.2e} above {limit.max_abs_rel:.0e} of the reference's maximum"
            ),
        ),
        *said(
            lambda each: _margin(each, tolerance).snr_db,
            lambda has, limit: f"{tolerance.ratio} {has.snr_db:.1f} dB below {limit.snr_db:.0f} dB",
        ),
        *said(
            lambda each: _margin(each, tolerance).cosine,
            lambda has, limit: f"cosine {has.cosine:.6f} below {limit.cosine:.6g}",
        ),
    ]
    if not found:
        return []
    worst_one = min((result for _, result in found), key=lambda each: _margin(each, tolerance).snr_db or 0.0)
    own = worst_one.conditioning
    why = (
        "" if own is None else f" (PyTorch float32 itself is at {own.float32.snr_db:.1f} dB from its own float64 there)"
    )
    return [*(text for text, _ in found[:-1]), f"{found[-1][0]}, worst on {worst_one.name}{why}"]


def _margin(result: InputResult, tolerance: Tolerance) -> Margins:
    has, limits = result.distance, _limits(result, tolerance)
    return Margins(
        max_abs_rel=None
        if limits.max_abs_rel is None or has.max_abs_rel is None
        else limits.max_abs_rel - has.max_abs_rel,
        snr_db=None if has.snr_db is None else has.snr_db - limits.snr_db,
        cosine=None if has.cosine is None else has.cosine - limits.cosine,
    )


def _margins(judged: Sequence[InputResult], tolerance: Tolerance, agreement: float | None) -> Margins:
    """Return the least margin of each figure; None where an input has none, or nothing is asked of it."""
    each = [_margin(result, tolerance) for result in judged]

    def least(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return min(known) if len(known) == len(values) else None

    return Margins(
        max_abs_rel=least([margin.max_abs_rel for margin in each]),
        snr_db=least([margin.snr_db for margin in each]),
        cosine=least([margin.cosine for margin in each]),
        top1_agreement=None if agreement is None else agreement - tolerance.top1_agreement,
    )
