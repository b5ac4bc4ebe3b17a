"""A segmenter's scores are judged as numbers, and in reduced precisions by the classes that they choose as well."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.tasks.registry import judge_of
from mobilevit_tools.verification import judging, score_maps
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.score_maps import judge_input, together, verdict
from mobilevit_tools.verification.tolerances import GATES

SIDE, CLASSES = 40, 5


def decided() -> np.ndarray:
    """Scores (CLASSES, SIDE, SIDE) of which one class is far ahead everywhere, a common part that drowns them added."""
    rng = np.random.default_rng(0)
    made = rng.standard_normal((CLASSES, SIDE, SIDE)) * 0.1
    best = rng.integers(CLASSES, size=(SIDE, SIDE))
    np.put_along_axis(made, best[None], 2.0, axis=0)
    return made + 40 * rng.standard_normal((1, SIDE, SIDE))


def swapped(scores: np.ndarray, share: float) -> np.ndarray:
    """The same with the two best classes of so many pixels exchanged."""
    given = scores.copy()
    order = scores.argsort(axis=0)
    rows = round(share * SIDE)
    first, second = order[-1:, :rows], order[-2:-1, :rows]
    high, low = (np.take_along_axis(scores[:, :rows], each, axis=0) for each in (first, second))
    np.put_along_axis(given[:, :rows], first, low, axis=0)
    np.put_along_axis(given[:, :rows], second, high, axis=0)
    return given


def judged(wanted: np.ndarray, given: np.ndarray, precision: str, kind: str = "photo") -> Parity:
    results = []
    for number in range(2):
        item = VerificationInput(f"photo {number}", kind, np.zeros((1, 3, SIDE, SIDE), np.float32), None)
        results.append(judge_input(item, [wanted], [given], GATES[precision], holds="score_map", exact=lambda: None))
    photo = VerificationInput("photo", "photo", np.zeros((1, 3, SIDE, SIDE), np.float32), None)
    if kind == "held-out":
        results.append(judge_input(photo, [wanted], [wanted], GATES[precision], holds="score_map", exact=lambda: None))
    return verdict(results, GATES[precision], unresponsive=False)


@pytest.mark.parametrize("kind", ["photo", "held-out"])
@pytest.mark.parametrize(("share", "status"), [(0.025, "passed"), (0.2, "failed")])
def test_wrong_classes_fail_where_the_ratio_hides_them(share: float, status: str, kind: str) -> None:
    wanted = decided()
    given = swapped(wanted, share)
    parity = judged(wanted, given, "int8", kind)
    assert parity.snr_db is not None
    assert parity.snr_db > GATES["int8"].snr_db
    assert parity.pixel_agreement == pytest.approx(1 - share)
    assert parity.status == status
    assert parity.margins.pixel_agreement is not None
    assert (parity.margins.pixel_agreement >= 0) == (status == "passed")
    if status == "failed":
        assert parity.reason is not None
        assert "agrees at 90.00% of the pixels" in parity.reason  # of which near-ties excuse a tenth


def test_near_ties_excuse_a_tenth_of_a_photo_at_most() -> None:
    rng = np.random.default_rng(1)
    wanted = rng.standard_normal((CLASSES, SIDE, SIDE)) * 0.01  # nothing is decided, noise turns most pixels
    noise = rng.standard_normal(wanted.shape) * 0.003
    parity = judged(wanted, wanted + noise, "int8")
    assert parity.status == "failed"
    few = noise.copy()
    few[:, 8:] = 0
    assert judged(wanted, wanted + few, "int8").status == "passed"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_where_no_change_is_allowed_the_numbers_decide(precision: str) -> None:
    wanted = decided()
    wanted[1] = wanted[0] + 1e-9  # a tie that any rounding turns
    given = wanted.copy()
    given[[0, 1]] = given[[1, 0]]
    parity = judged(wanted, given, precision)
    assert parity.status == "passed"
    assert parity.pixel_agreement is not None


def test_what_is_not_finite_fails_and_has_no_classes() -> None:
    wanted = decided()
    given = wanted.copy()
    given[0, 0, 0] = np.nan
    parity = judged(wanted, given, "int8")
    assert (parity.status, parity.pixel_agreement) == ("failed", None)
    assert parity.results[0].pixels is None


def test_the_worst_of_several_batches_counts() -> None:
    wanted = decided()
    item = VerificationInput("photo", "photo", np.zeros((1, 3, SIDE, SIDE), np.float32), None)
    results = [
        judge_input(item, [wanted], [given], GATES["int8"], holds="score_map", exact=lambda: None)
        for given in (wanted, swapped(wanted, 0.5))
    ]
    worst = together(results)
    assert worst.pixels is not None
    assert worst.pixels.same == pytest.approx(0.5)
    assert worst.distance.snr_db == results[1].distance.snr_db


def test_maps_of_scores_have_this_judge_and_other_maps_do_not() -> None:
    assert judge_of("score_map") == score_maps.__name__
    assert judge_of("features") == judging.__name__
