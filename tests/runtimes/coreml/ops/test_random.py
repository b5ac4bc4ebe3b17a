from __future__ import annotations

import numpy as np
import pytest

from mobilevit_tools.errors import BadInputError
from tests.runtimes.coreml.building import computed

MANY = (100, 100)


def test_values_have_the_distribution_that_is_asked_for() -> None:
    uniform = computed("random_uniform", shape=MANY, low=2.0, high=4.0)
    assert (uniform >= 2).all()
    assert (uniform < 4).all()
    assert abs(uniform.mean() - 3) < 0.05
    normal = computed("random_normal", shape=MANY, mean=5.0, stddev=2.0)
    assert abs(normal.mean() - 5) < 0.1
    assert abs(normal.std() - 2) < 0.1
    coins = computed("random_bernoulli", shape=MANY, prob=0.25)
    assert set(np.unique(coins)) == {0, 1}
    assert abs(coins.mean() - 0.25) < 0.02


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_classes_are_drawn_by_their_weight(mode: str) -> None:
    weights = np.array([[0.7, 0.1, 0.2]], np.float32)
    x = np.log(weights) if mode == "logits" else weights
    drawn = computed("random_categorical", x=x, mode=mode, size=10_000, seed=3)
    assert drawn.shape == (1, 10_000)
    shares = [(drawn == index).mean() for index in range(3)]
    np.testing.assert_allclose(shares, weights[0], atol=0.02)
    with pytest.raises(BadInputError, match="unknown mode 'odds'"):
        computed("random_categorical", x=x, mode="odds")


def test_a_seed_is_kept_to() -> None:
    first, again, other = (computed("random_normal", shape=(8,), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
