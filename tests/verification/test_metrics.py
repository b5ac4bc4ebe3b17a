"""Distances between outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mobilevit_tools.verification.metrics import MAX_SNR_DB, Distance, distance, worst


def test_figures_by_hand() -> None:
    reference = np.array([3.0, -4.0])
    output = np.array([3.0, -3.0])
    found = distance(reference, output)
    assert found.max_abs_rel == pytest.approx(1 / 4)
    assert found.snr_db == pytest.approx(10 * math.log10(25 / 1))
    assert found.cosine == pytest.approx((9 + 12) / (5 * math.sqrt(18)))
    assert found.finite


def test_identical_outputs() -> None:
    values = np.array([1.0, 2.0], dtype=np.float32)
    assert distance(values, values) == Distance(0.0, MAX_SNR_DB, 1.0, finite=True)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_non_finite_output_has_no_figures(broken: float) -> None:
    found = distance(np.array([1.0, 2.0]), np.array([1.0, broken]))
    assert found == Distance(None, None, None, finite=False)


def test_differences_too_small_for_float32_are_seen() -> None:
    reference = np.array([1e4, 1.0], dtype=np.float64)
    found = distance(reference, reference + np.array([0, 1e-6]))
    assert found.max_abs_rel == pytest.approx(1e-10, rel=1e-3)


def test_a_zero_reference_has_no_relative_figures() -> None:
    found = distance(np.zeros(2), np.array([0.0, 1e-9]))
    assert (found.max_abs_rel, found.snr_db, found.cosine) == (None, None, None)


def test_an_output_of_zeros_has_figures() -> None:
    assert distance(np.array([3.0, -4.0]), np.zeros(2)) == Distance(1.0, 0.0, 0.0, finite=True)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        distance(np.zeros(2), np.zeros(3))


def test_a_broken_reference_is_not_a_reference() -> None:
    with pytest.raises(ValueError, match="not finite"):
        distance(np.array([np.nan]), np.array([1.0]))


def test_worst_takes_each_figure_by_its_own_direction() -> None:
    found = worst([Distance(0.1, 60.0, 0.9, finite=True), Distance(0.2, 80.0, 0.99, finite=True)])
    assert found == Distance(0.2, 60.0, 0.9, finite=True)


def test_worst_of_something_unknown_is_unknown() -> None:
    found = worst([Distance(0.1, 60.0, 0.9, finite=True), Distance(None, None, None, finite=False)])
    assert found == Distance(None, None, None, finite=False)
