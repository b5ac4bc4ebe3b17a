"""How class maps are judged: by the share of pixels with the model's own class.

The artifact gives the class at each pixel, and the model a score for each class there. As for the prediction of a
whole photo, a change is a near-tie where the two classes' scores differ by no more than noise of the size that the gate
allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.verification.metrics import NO_DISTANCE
from mobilevit_tools.verification.parity import InputResult, Margins, Parity, PixelAgreement
from mobilevit_tools.verification.tolerances import NEAR_TIE_MARGIN, Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.data.contract import OutputKind
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.judging import Outputs
    from mobilevit_tools.verification.reference import Exact

LEAST_GAIN = 0.5
"""Of what the best constant map of each photo gets wrong, the share that an artifact has to get right."""


def misfit(expected: Sequence[list[NDArray[Any]]], outputs: Sequence[NDArray[Any]]) -> str | None:
    """Say how a batch's output is no class map of the size of the model's scores (1, classes, H, W)."""
    if len(outputs) != 1:
        return f"the artifact has {len(outputs)} outputs, not 1"
    wanted, got = expected[0][0], outputs[0]
    shape = (len(expected), *wanted.shape[2:])
    if got.shape != shape:
        return f"the artifact's class map has shape {got.shape}, not {shape}"
    if not np.isfinite(got).all():
        return "the artifact's class map is not finite"
    if got.size and (got.min() < 0 or got.max() >= wanted.shape[1] or (got != np.floor(got)).any()):
        return f"the artifact's class map contains indices outside of the {wanted.shape[1]} classes"
    return None


def judge_input(
    item: VerificationInput,
    wanted: Outputs,
    got: Outputs,
    tolerance: Tolerance,
    *,
    holds: OutputKind,  # noqa: ARG001
    exact: Callable[[], Exact | None],  # noqa: ARG001
) -> InputResult:
    """Compare a class map with the model's scores; see :func:`mobilevit_tools.verification.judging.judge_input`."""
    scores = wanted[0].astype(np.float64)
    centred = scores - scores.mean(axis=0)
    noise = float(np.sqrt(np.mean(centred**2))) * 10 ** (-tolerance.snr_db / 20)
    pixels = pixel_agreement(scores, got[0].astype(np.int64), noise)
    return InputResult(item.name, item.kind, NO_DISTANCE, same_top1=None, near_tie=False, pixels=pixels)


def pixel_agreement(scores: NDArray[Any], given: NDArray[Any], noise: float) -> PixelAgreement:
    """Compare a class map (H, W) with the model's scores (classes, H, W).

    Args:
        scores: The scores, in float64.
        given: The class map.
        noise: Root mean square of the scores' noise, by which a change is a near-tie.
    """
    best = scores.argmax(axis=0)
    short = scores.max(axis=0) - np.take_along_axis(scores, given[None], axis=0)[0]
    changed = given != best
    ties = changed & (short <= NEAR_TIE_MARGIN * noise)
    return PixelAgreement(
        same=float((~changed).mean()),
        near_ties=float(ties.mean()),
        beyond=float((changed & ~ties).mean()),
        constant=float(np.bincount(best.ravel()).max() / best.size),
    )


def together(results: Sequence[InputResult]) -> InputResult:
    """Return the worst of what was found of one input in several batches."""
    return min(results, key=lambda result: _of(result).same)


def verdict(results: Sequence[InputResult], tolerance: Tolerance, *, unresponsive: bool) -> Parity:  # noqa: ARG001
    """Hold the maps' agreement against the gate; one of constants never passes.

    Where the gate allows a top-1 to change, so large a share of all pixels may; where it allows none, pixels may change
    within near-ties alone, on each input by the share that the gate says.
    """
    if not results:
        return Parity(status="not_verified", reason="No input could be evaluated.")
    judged = [result for result in results if result.kind in tolerance.judged]
    if not judged:
        return Parity(status="not_verified", reason=f"No input is a {' or '.join(tolerance.judged)}.")
    held_out = [result for result in results if result.kind == "held-out"]
    pool = held_out or judged
    agreement = float(np.mean([_of(result).same for result in pool]))
    constant = float(np.mean([_of(result).constant for result in pool]))
    found = Parity(
        status="passed",
        pixel_agreement=agreement,
        inputs=len(results),
        held_out=len(held_out),
        margins=Margins(pixel_agreement=_margin(pool, tolerance)),
        results=tuple(results),
    )
    failures = [*_missed(pool, tolerance)]
    if constant < 1 and (agreement - constant) / (1 - constant) < LEAST_GAIN:
        failures.append(
            f"its class maps agree on {agreement:.2%} of the pixels, where a constant class per photo would on "
            f"{constant:.2%}"
        )
    if failures:
        return replace(found, status="failed", reason="; ".join(failures))
    if constant == 1:
        return replace(
            found,
            status="not_verified",
            reason="The model predicts a single class for every input, so the comparison proves "
            "nothing; pass --images with photos that it segments.",
        )
    return found


def _of(result: InputResult) -> PixelAgreement:
    if result.pixels is None:
        raise ValueError(f"{result.name} was not judged as a class map")
    return result.pixels


def _missed(pool: Sequence[InputResult], tolerance: Tolerance) -> list[str]:
    if tolerance.top1_agreement < 1:
        agreement = float(np.mean([_of(result).same for result in pool]))
        if agreement >= tolerance.top1_agreement:
            return []
        return [f"the class agrees at {agreement:.2%} of the pixels, below {tolerance.top1_agreement:.0%}"]
    beyond = max(pool, key=lambda result: _of(result).beyond)
    if _of(beyond).beyond > 0:
        return [f"the class changed at {_of(beyond).beyond:.3%} of the pixels beyond near-ties, worst on {beyond.name}"]
    tied = max(pool, key=lambda result: _of(result).near_ties)
    if (share := _of(tied).near_ties) > tolerance.pixel_ties:
        limit = f"near-ties may excuse at most {tolerance.pixel_ties:.1%}"
        return [f"the class changed at {share:.3%} of the pixels, and {limit}, worst on {tied.name}"]
    return []


def _margin(pool: Sequence[InputResult], tolerance: Tolerance) -> float:
    if tolerance.top1_agreement < 1:
        return float(np.mean([_of(result).same for result in pool])) - tolerance.top1_agreement
    return min(_of(result).same for result in pool) - (1 - tolerance.pixel_ties)
