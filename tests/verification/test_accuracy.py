from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.verification.accuracy import Confusion, clearly_best, confusions, is_in_top, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (467, 600, 0.7435, 0.8098), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_intervals_match_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=2e-4)


def test_ties_and_values_that_are_no_numbers_are_never_right() -> None:
    logits = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [np.nan, 0.0, 1.0], [np.inf, 0.0, 1.0], [3.0, 2.0, 1.0]])
    labels = np.array([0, 1, 2, 0, 2])
    assert is_in_top(logits, labels, 1).tolist() == [False, True, False, False, False]
    assert is_in_top(logits, labels, 2).tolist() == [True, True, False, False, False]
    assert is_in_top(logits, labels, 5).tolist() == [True, True, False, False, True]


def test_confusions_are_counted_by_both_classes() -> None:
    truth, guess = np.array([0, 0, 0, 1, 2]), np.array([1, 1, 0, 0, 2])
    assert confusions(guess, truth, ("cat", "dog", "fox")) == (Confusion("cat", "dog", 2), Confusion("dog", "cat", 1))


@pytest.mark.parametrize(
    ("first", "second", "both", "best"),
    [(10, 0, 2, 0), (0, 10, 2, 1), (3, 3, 50, None), (4, 0, 0, None), (0, 0, 12, None), (9, 1, 0, None), (30, 9, 0, 0)],
)
def test_a_labelling_is_chosen_only_where_chance_could_not(
    first: int, second: int, both: int, best: int | None
) -> None:
    only = np.array([True] * first + [False] * second + [True] * both)
    other = np.array([False] * first + [True] * second + [True] * both)
    assert clearly_best([only, other]) == best


def test_a_labelling_must_beat_every_other() -> None:
    right, wrong = np.ones(12, bool), np.zeros(12, bool)
    assert clearly_best([wrong, right, wrong]) == 1
    assert clearly_best([wrong, right, right]) is None
