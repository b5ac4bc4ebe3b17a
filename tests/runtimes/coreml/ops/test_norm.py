from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.runtimes.coreml.building import PROPERTY, computed, inferred, mb, noise, saved_cases

C = 4
MEAN, VARIANCE = noise(C, seed=1), np.abs(noise(C, seed=2)) + 0.1
GAMMA, BETA = noise(C, seed=3), noise(C, seed=4)

BUILDS = {
    "batch": lambda x: mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE, gamma=GAMMA, beta=BETA, epsilon=0.01),
    "batch_plain": lambda x: mb.batch_norm(x=x, mean=MEAN, variance=VARIANCE),
    "instance": lambda x: mb.instance_norm(x=x, gamma=GAMMA, beta=BETA, epsilon=0.01),
    "layer_last": lambda x: mb.layer_norm(x=x, axes=[2, 3], gamma=noise(5, 6), beta=noise(5, 6, seed=1), epsilon=0.01),
    "layer_channel": lambda x: mb.layer_norm(x=x, axes=[1], gamma=GAMMA, beta=BETA, epsilon=0.01),
    "l2": lambda x: mb.l2_norm(x=x, epsilon=0.5),
    "local": lambda x: mb.local_response_norm(x=x, size=3, alpha=0.5, beta=0.6, k=1.5),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = saved_cases(BUILDS, (2, C, 5, 6), tmp_path_factory.mktemp("norm") / "a.mlpackage")
    return program.run({"x": noise(2, C, 5, 6) + 1})


def test_saved_norms_match_their_formulas(outputs: dict[str, Any]) -> None:
    x = (noise(2, C, 5, 6) + 1).astype(np.float64)
    mean, variance, gamma, beta = (value.reshape(-1, 1, 1) for value in (MEAN, VARIANCE, GAMMA, BETA))

    def normal(axes: tuple[int, ...]) -> np.ndarray:
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.01)

    squares = np.pad(x**2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    around = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    expected = {
        "batch": (x - mean) / np.sqrt(variance + 0.01) * gamma + beta,
        "batch_plain": (x - mean) / np.sqrt(variance + 1e-5),
        "instance": normal((2, 3)) * gamma + beta,
        "layer_last": normal((2, 3)) * noise(5, 6) + noise(5, 6, seed=1),
        "layer_channel": normal((1,)) * gamma + beta,
        "l2": x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 0.5),
        "local": x / (1.5 + 0.5 / 3 * around) ** 0.6,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@PROPERTY
@given(data=st.data(), rank=st.integers(2, 4), affine=st.booleans())
def test_layer_norm_over_any_axes_agrees_with_coremltools(data: st.DataObject, rank: int, affine: bool) -> None:
    shape = [data.draw(st.integers(2, 4)) for _ in range(rank)]
    axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    x = noise(*shape)
    given = {"x": x, "epsilon": np.float32(0.02)}
    if affine:
        normalized = [shape[axis] for axis in axes]
        given |= {"gamma": noise(*normalized, seed=1), "beta": noise(*normalized, seed=2)}
    theirs = inferred("layer_norm", axes=axes, **given)
    ours = computed("layer_norm", axes=tuple(axes), **(given | {"epsilon": 0.02}))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@PROPERTY
@given(batch=st.lists(st.integers(1, 3), max_size=2), epsilon=st.sampled_from([1e-6, 0.25]))
def test_l2_norm_covers_the_last_three_dimensions(batch: list[int], epsilon: float) -> None:
    x = noise(*batch, 2, 3, 2)
    np.testing.assert_allclose(
        computed("l2_norm", x=x, epsilon=epsilon), inferred("l2_norm", x=x, epsilon=np.float32(epsilon)), rtol=1e-5
    )


def test_instance_norm_of_sequences_is_torchs() -> None:
    x = torch.from_numpy(noise(2, 3, 7))
    np.testing.assert_allclose(
        computed("instance_norm", x=x.numpy(), epsilon=1e-3), F.instance_norm(x, eps=1e-3), atol=1e-5
    )


def test_a_local_norm_of_three_dimensions_takes_the_first_for_channels() -> None:
    x = np.array([[[1.0, -7.0], [5.0, -6.0], [-3.0, -5.0]]], np.float32)
    # The values that coremltools' own tests of Core ML expect.
    expected = [[0.99997497, -6.99143696], [4.99687672, -5.99460602], [-2.99932504, -4.99687672]]
    np.testing.assert_allclose(computed("local_response_norm", x=x, size=3)[0], expected, rtol=1e-6)
    pairs = np.concatenate((x, x))
    whole = computed("local_response_norm", x=pairs[None], size=3)[0]
    np.testing.assert_array_equal(computed("local_response_norm", x=pairs, size=3), whole)
