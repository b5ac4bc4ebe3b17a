from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from tests.runtimes.coreml.building import PROPERTY, computed, inferred, mb, noise, saved_cases

BUILDS: dict[str, Any] = {
    "shape": lambda x: mb.shape(x=x),
    "fill": lambda x: mb.fill(shape=mb.shape(x=x), value=2.5),
    "fill_like": lambda x: mb.fill_like(ref_tensor=x, value=-1.0),
    "range": lambda x: mb.range_1d(start=1, end=mb.gather(x=mb.shape(x=x), indices=1), step=2),
    "tile": lambda x: mb.tile(x=x, reps=[1, 2, 3]),
    "one_hot": lambda x: mb.one_hot(
        indices=mb.reduce_argmax(x=x, axis=1), one_hot_vector_size=6, axis=1, on_value=3, off_value=-1
    ),
    "non_zero": lambda x: mb.non_zero(x=mb.relu(x=x)),
}
X = noise(2, 6, 3)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return saved_cases(BUILDS, X.shape, tmp_path_factory.mktemp("create") / "a.mlpackage").run({"x": X})


def test_saved_makers_match_numpy(outputs: dict[str, Any]) -> None:
    hot = np.where(np.arange(6)[None, :, None] == X.argmax(1)[:, None], 3, -1)
    expected = {
        "shape": [2, 6, 3],
        "fill": np.full(X.shape, 2.5),
        "fill_like": np.full(X.shape, -1.0),
        "range": np.arange(1, 6, 2),
        "tile": np.tile(X, (1, 2, 3)),
        "one_hot": hot,
        "non_zero": np.argwhere(X > 0),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value, err_msg=name)


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 3))
def test_tiles_agree_with_coremltools(data: st.DataObject, rank: int) -> None:
    x = noise(*[data.draw(st.integers(1, 3)) for _ in range(rank)])
    reps = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    np.testing.assert_array_equal(computed("tile", x=x, reps=tuple(reps)), inferred("tile", x=x, reps=reps))


@PROPERTY
@given(start=st.integers(-5, 5), length=st.integers(1, 6), step=st.sampled_from([1, 2, 3, -1, -2]))
def test_ranges_agree_with_coremltools(start: int, length: int, step: int) -> None:
    bounds = {"start": start, "end": start + length * step, "step": step}
    ours = computed("range_1d", **{key: np.array(value, np.int32) for key, value in bounds.items()})
    np.testing.assert_array_equal(ours, inferred("range_1d", **{key: np.int32(value) for key, value in bounds.items()}))


def test_indices_outside_of_a_one_hot_vector_light_nothing() -> None:
    np.testing.assert_array_equal(
        computed("one_hot", indices=np.array([0, 5, -1]), one_hot_vector_size=2).sum(1), [1, 0, 0]
    )


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("fill", {"shape": (1 << 20, 1 << 20)}),
        ("tile", {"x": noise(4), "reps": (1 << 40,)}),
        ("one_hot", {"indices": np.array([1]), "one_hot_vector_size": 1 << 40}),
        ("range_1d", {"start": np.array(0), "end": np.array(1 << 40), "step": np.array(1)}),
    ],
)
def test_values_beyond_all_memory_are_refused(op: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="too large"):
        computed(op, **arguments)
