"""Class maps pass where the model would have said the same but for noise, and never where they are constants."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.verification.class_maps import judge_input, misfit, verdict
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.tolerances import GATES

SIDE, CLASSES = 32, 4


def scores(seed: int, *, lean: float = 0.0) -> np.ndarray:
    """Random scores (CLASSES, SIDE, SIDE), by ``lean`` in favour of class 0."""
    made = np.random.default_rng(seed).standard_normal((CLASSES, SIDE, SIDE))
    made[0] += lean
    return made


def judged(wanted: list[np.ndarray], given: list[np.ndarray], precision: str) -> Parity:
    results = []
    for number, (each, other) in enumerate(zip(wanted, given, strict=True)):
        item = VerificationInput(f"photo {number}", "photo", np.zeros((1, 3, SIDE, SIDE), np.float32), None)
        results.append(judge_input(item, [each], [other], GATES[precision], holds="class_map", exact=lambda: None))
    return verdict(results, GATES[precision], unresponsive=False)


def with_changes(right: np.ndarray, share: float) -> np.ndarray:
    changed = right.copy().ravel()
    count = round(share * changed.size)
    changed[:count] = (changed[:count] + 1) % CLASSES
    return changed.reshape(right.shape)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weight", "int8"])
def test_the_models_own_classes_pass(precision: str) -> None:
    wanted = [scores(0), scores(1)]
    parity = judged(wanted, [each.argmax(0) for each in wanted], precision)
    assert (parity.status, parity.pixel_agreement) == ("passed", 1.0)


@pytest.mark.parametrize(
    ("precision", "share", "status"),
    [
        ("fp32", 1 / SIDE**2, "failed"),
        ("fp16", 1 / SIDE**2, "failed"),
        ("int8-weight", 0.015, "passed"),
        ("int8-weight", 0.025, "failed"),
        ("int8", 0.04, "passed"),
        ("int8", 0.06, "failed"),
    ],
)
def test_changed_pixels_count_as_changed_predictions_do(precision: str, share: float, status: str) -> None:
    wanted = [scores(0), scores(1)]
    parity = judged(wanted, [with_changes(each.argmax(0), share) for each in wanted], precision)
    assert parity.status == status
    assert parity.pixel_agreement == pytest.approx(1 - share, abs=1e-3)


@pytest.mark.parametrize(("noise_db", "status"), [(110, "passed"), (60, "failed"), (30, "failed")])
def test_noise_within_the_gate_changes_near_ties_alone(noise_db: float, status: str) -> None:
    wanted = [np.random.default_rng(9).standard_normal((CLASSES, 512, 512))]
    noise = np.random.default_rng(5).standard_normal(wanted[0].shape) * 10 ** (-noise_db / 20)
    given = [(wanted[0] + noise).argmax(0)]
    assert judged(wanted, given, "fp32").status == status


@pytest.mark.parametrize("count", range(1, 11))
def test_any_number_of_near_ties_within_their_share_is_excused(count: int) -> None:
    """Shares of pixels are no sums: what is left of 1 without two of them may be rounding, and no pixel at all."""
    wanted = np.random.default_rng(0).standard_normal((CLASSES, 48, 64))
    given = wanted.argmax(0)
    for place in range(count):
        wanted[:, 0, place] = (1.0, 1.0 - 1e-9, -1.0, -1.0)
        given[0, place] = 1
    parity = judged([wanted], [given], "fp16")
    assert (parity.status, parity.results[0].pixels.beyond) == ("passed", 0.0)


def test_many_near_ties_are_no_excuse() -> None:
    tied = scores(0)
    tied[1] = tied[0] + 1e-7  # class 1 wins everywhere over 0, by next to nothing
    tied[2:] -= 10
    parity = judged([tied], [np.zeros((SIDE, SIDE))], "fp32")
    assert parity.status == "failed"
    assert "may excuse at most" in str(parity.reason)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weight", "int8"])
def test_a_map_of_constants_never_passes(precision: str) -> None:
    leaning = [scores(0, lean=5.5), scores(1, lean=5.5)]
    share = float(np.mean([(each.argmax(0) == 0).mean() for each in leaning]))
    assert 0.98 < share < 1  # so that the agreement alone would do
    assert judged(leaning, [np.zeros((SIDE, SIDE))] * 2, precision).status == "failed"


def test_a_model_of_one_class_proves_nothing() -> None:
    wanted = [scores(0, lean=100.0), scores(1, lean=100.0)]
    parity = judged(wanted, [each.argmax(0) for each in wanted], "fp32")
    assert parity.status == "not_verified"
    assert "--images" in str(parity.reason)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((1, SIDE, SIDE // 2), np.uint8), "shape"),
        (np.full((1, SIDE, SIDE), CLASSES, np.uint8), "outside of the 4 classes"),
        (np.full((1, SIDE, SIDE), -1), "outside of the 4 classes"),
        (np.full((1, SIDE, SIDE), 0.5), "outside of the 4 classes"),
        (np.full((1, SIDE, SIDE), np.nan), "not finite"),
    ],
)
def test_what_is_no_class_map_fails(given: np.ndarray, said: str) -> None:
    assert said in str(misfit([[scores(0)[None]]], [given]))
    assert misfit([[scores(0)[None]]], [scores(0)[None].argmax(1)]) is None
