"""Recall of photos of one class by their embeddings, ties going against them."""

from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.verification import retrieval
from mobilevit_tools.verification.retrieval import rivals


def test_rivals_are_those_before_the_first_of_the_same_class(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(0, 4, 40)
    wanted = []
    for row in range(40):
        order = sorted((other for other in range(40) if other != row), key=lambda other: -vectors[row] @ vectors[other])
        wanted.append(next(place for place, other in enumerate(order) if labels[other] == labels[row]))
    assert rivals(vectors, labels).tolist() == wanted
    monkeypatch.setattr(retrieval, "_ROWS", 7)
    assert rivals(vectors, labels).tolist() == wanted


def test_a_constant_embedding_finds_nothing_and_who_is_alone_is_not_asked() -> None:
    assert rivals(np.ones((5, 1)), np.array([0, 0, 1, 1, 2])).tolist() == [3, 3, 3, 3, -1]
