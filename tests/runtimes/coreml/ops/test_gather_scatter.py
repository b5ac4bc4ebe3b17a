from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from tests.runtimes.coreml.building import PROPERTY, computed, inferred, mb, noise, saved_cases

X = noise(3, 4, 5)
ALONG = np.array([[[0, 4, -1, 2, 1]], [[1, 1, 0, 3, 2]], [[3, 2, 2, 0, 0]]], np.int32) % 4
ND = np.array([[0, 3], [2, 1]], np.int32)
ROWS = np.array([2, 0], np.int32)
UPDATES = noise(2, 4, 5, seed=1)

BUILDS: dict[str, Any] = {
    "gather": lambda x: mb.gather(x=x, indices=np.array([[1, 0], [3, 3]], np.int32), axis=1),
    "gather_scalar": lambda x: mb.gather(x=x, indices=np.int32(2), axis=-1),
    "gather_batch": lambda x: mb.gather(
        x=x, indices=np.array([[1, 0], [3, 3], [2, 1]], np.int32), axis=1, batch_dims=1
    ),
    "gather_along_axis": lambda x: mb.gather_along_axis(x=x, indices=ALONG, axis=1),
    "gather_nd": lambda x: mb.gather_nd(x=x, indices=ND),
    "gather_nd_batch": lambda x: mb.gather_nd(x=x, indices=np.array([[1], [3], [0]], np.int32), batch_dims=1),
    "scatter": lambda x: mb.scatter(data=x, indices=ROWS, updates=UPDATES, axis=0, mode="update"),
    "scatter_along_axis": lambda x: mb.scatter_along_axis(
        data=x, indices=ALONG, updates=np.ones((3, 1, 5), np.float32), axis=1, mode="add"
    ),
    "scatter_nd": lambda x: mb.scatter_nd(data=x, indices=ND, updates=noise(2, 5), mode="sub"),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return saved_cases(BUILDS, X.shape, tmp_path_factory.mktemp("gather") / "a.mlpackage").run({"x": X})


def test_saved_gathers_and_scatters_match_numpy(outputs: dict[str, Any]) -> None:
    updated, added, subtracted = X.copy(), X.copy(), X.copy()
    updated[ROWS] = UPDATES
    np.put_along_axis(added, ALONG, np.take_along_axis(X, ALONG, 1) + 1, 1)
    subtracted[tuple(ND.T)] -= noise(2, 5)
    expected = {
        "gather": X[:, [[1, 0], [3, 3]]],
        "gather_scalar": X[..., 2],
        "gather_batch": np.stack([X[0, [1, 0]], X[1, [3, 3]], X[2, [2, 1]]]),
        "gather_along_axis": np.take_along_axis(X, ALONG, 1),
        "gather_nd": X[[0, 2], [3, 1]],
        "gather_nd_batch": np.stack([X[0, 1], X[1, 3], X[2, 0]]),
        "scatter": updated,
        "scatter_along_axis": added,
        "scatter_nd": subtracted,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-6, err_msg=name)


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 4), batch_dims=st.integers(0, 2))
def test_gather_along_any_axis_agrees_with_coremltools(data: st.DataObject, rank: int, batch_dims: int) -> None:
    batch_dims = min(batch_dims, rank - 1)
    sizes = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    axis = data.draw(st.integers(batch_dims, rank - 1))
    extra = [data.draw(st.integers(1, 3)) for _ in range(data.draw(st.integers(0, 2)))]
    shape = (*sizes[:batch_dims], *extra)
    indices = np.random.default_rng(1).integers(0, sizes[axis], shape).astype(np.int32)
    x = noise(*sizes)
    arguments = {"x": x, "axis": axis, "batch_dims": batch_dims}
    theirs = inferred(
        "gather", target=ct.target.iOS16, indices=indices if indices.ndim else np.int32(indices), **arguments
    )
    np.testing.assert_array_equal(computed("gather", indices=np.asarray(indices), **arguments), theirs)


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 3))
def test_gather_along_axis_agrees_with_coremltools(data: st.DataObject, rank: int) -> None:
    sizes = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    axis = data.draw(st.integers(0, rank - 1))
    shape = [data.draw(st.integers(1, 5)) if i == axis else size for i, size in enumerate(sizes)]
    indices = np.random.default_rng(2).integers(-sizes[axis], sizes[axis], shape).astype(np.int32)
    x = noise(*sizes)
    theirs = inferred("gather_along_axis", target=ct.target.iOS15, x=x, indices=indices, axis=axis)
    np.testing.assert_array_equal(computed("gather_along_axis", x=x, indices=indices, axis=axis), theirs)


COMBINE = {
    "update": lambda old, new: new,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 3), mode=st.sampled_from(list(COMBINE)))
def test_scatters_combine_one_update_after_the_other(data: st.DataObject, rank: int, mode: str) -> None:
    sizes = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    axis = data.draw(st.integers(0, rank - 1))
    count = data.draw(st.integers(1, sizes[axis] if mode == "update" else 5))
    rng = np.random.default_rng(3)
    rows = rng.permutation(sizes[axis])[:count] if mode == "update" else rng.integers(0, sizes[axis], count)
    x, updates = noise(*sizes), np.abs(noise(*sizes[:axis], count, *sizes[axis + 1 :], seed=4)) + 0.5
    expected = np.moveaxis(x.copy(), axis, 0)
    for row, update in zip(rows, np.moveaxis(updates, axis, 0), strict=True):
        expected[row] = COMBINE[mode](expected[row], update)
    expected = np.moveaxis(expected, 0, axis)
    rows = rows.astype(np.int32)
    ours = computed("scatter", data=x, indices=rows, updates=updates, axis=axis, mode=mode)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    along = np.broadcast_to(rows.reshape([-1 if i == axis else 1 for i in range(rank)]), updates.shape).copy()
    ours = computed("scatter_along_axis", data=x, indices=along, updates=updates, axis=axis, mode=mode)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    if axis == 0:
        ours = computed("scatter_nd", data=x, indices=rows[:, None], updates=updates, mode=mode)
        np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_negative_indices_count_from_the_end_unless_checked() -> None:
    x, last = noise(4, 2), np.array([-1], np.int32)
    np.testing.assert_array_equal(computed("gather", x=x, indices=last), x[[-1]])
    with pytest.raises(BadInputError, match="out of bounds"):
        computed("gather", x=x, indices=last, validate_indices=True)
    with pytest.raises(BadInputError, match="out of bounds"):
        computed("gather", x=x, indices=np.array([4], np.int32))
    with pytest.raises(BadInputError, match="unknown mode 'xor'"):
        computed("scatter", data=x, indices=last, updates=noise(1, 2), mode="xor")


def test_scattering_at_no_index_changes_nothing() -> None:
    data = noise(3, 4, 5)
    nowhere = np.zeros((0, 2), np.int32)
    for mode in ("update", "add"):
        out = computed("scatter_nd", data=data, indices=nowhere, updates=np.zeros((0, 5), np.float32), mode=mode)
        np.testing.assert_array_equal(out, data)
