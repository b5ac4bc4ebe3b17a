"""How a segmenter's maps of scores are judged: as numbers, and by the classes that they choose.

A ratio of signal to noise over all classes hides what it does to the two that compete for a pixel. Where the gate
allows a top-1 to change, the map of the best classes must agree as well; where it does not, the numbers alone are
stricter than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mobilevit_tools.verification import judging
from mobilevit_tools.verification.class_maps import pixel_agreement
from mobilevit_tools.verification.judging import misfit
from mobilevit_tools.verification.parity import InputResult, Parity, PixelAgreement
from mobilevit_tools.verification.tolerances import NEAR_TIE_SHARE, Tolerance

if TYPE_CHECKING:
    from mobilevit_tools.data.contract import OutputKind
    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.judging import Outputs
    from mobilevit_tools.verification.reference import Exact

__all__ = ["judge_input", "misfit", "together", "verdict"]


def judge_input(
    item: VerificationInput,
    wanted: Outputs,
    got: Outputs,
    tolerance: Tolerance,
    *,
    holds: OutputKind,
    exact: Callable[[], Exact | None],
) -> InputResult:
    """Compare maps of scores; see :func:`mobilevit_tools.verification.judging.judge_input`.

    A changed pixel is a near-tie by the noise that there is, as with the prediction of a whole photo.
    """
    result = judging.judge_input(item, wanted, got, tolerance, holds=holds, exact=exact)
    scores, found = wanted[0].astype(np.float64), got[0].astype(np.float64)
    if not np.isfinite(found).all():
        return result
    noise = float(np.sqrt(np.mean((found - scores) ** 2)))
    return replace(result, pixels=pixel_agreement(scores, found.argmax(axis=0), noise))


def together(results: Sequence[InputResult]) -> InputResult:
    """Return the worst of what was found of one input in several batches."""
    known = [result.pixels for result in results if result.pixels is not None]
    return replace(judging.together(results), pixels=min(known, key=lambda each: each.same) if known else None)


def verdict(results: Sequence[InputResult], tolerance: Tolerance, *, unresponsive: bool) -> Parity:
    """Hold the figures of the scores against the gate, and the classes' agreement where it allows some to change.

    Near-ties excuse at most a tenth of a photo's pixels.
    """
    parity = judging.verdict(results, tolerance, unresponsive=unresponsive)
    held_out = [result for result in results if result.kind == "held-out"]
    judged = held_out or [result for result in results if result.kind in tolerance.judged]
    pool = [result.pixels for result in judged if result.pixels is not None]
    if not pool:
        return parity
    agreement = float(np.mean([each.same for each in pool]))
    parity = replace(parity, pixel_agreement=agreement)
    if tolerance.top1_agreement == 1:
        return parity
    excused = float(np.mean([_excused(each) for each in pool]))
    margins = replace(parity.margins, pixel_agreement=excused - tolerance.top1_agreement)
    if excused >= tolerance.top1_agreement:
        return replace(parity, margins=margins)
    missed = (
        f"the class agrees at {excused:.2%} of the pixels, with near-ties for at most a tenth of a photo, below "
        f"{tolerance.top1_agreement:.0%}"
    )
    return replace(parity, status="failed", margins=margins, reason="; ".join(filter(None, (parity.reason, missed))))


def _excused(pixels: PixelAgreement) -> float:
    return pixels.same + min(pixels.near_ties, NEAR_TIE_SHARE)
