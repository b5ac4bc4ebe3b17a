from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tests.runtimes.coreml.building import PROPERTY, computed, inferred, mb, noise, saved_cases

REDUCTIONS = [
    "reduce_l1_norm",
    "reduce_l2_norm",
    "reduce_log_sum",
    "reduce_log_sum_exp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_sum",
    "reduce_sum_square",
]
X = np.abs(noise(3, 4, 5)) + 0.25


def _formula(name: str, x: Any, axes: Any, keep: bool) -> Any:
    return {
        "reduce_l1_norm": lambda: np.abs(x).sum(axes, keepdims=keep),
        "reduce_l2_norm": lambda: np.sqrt((x * x).sum(axes, keepdims=keep)),
        "reduce_log_sum": lambda: np.log(x.sum(axes, keepdims=keep)),
        "reduce_log_sum_exp": lambda: np.log(np.exp(x).sum(axes, keepdims=keep)),
        "reduce_max": lambda: x.max(axes, keepdims=keep),
        "reduce_mean": lambda: x.mean(axes, keepdims=keep),
        "reduce_min": lambda: x.min(axes, keepdims=keep),
        "reduce_prod": lambda: x.prod(axes, keepdims=keep),
        "reduce_sum": lambda: x.sum(axes, keepdims=keep),
        "reduce_sum_square": lambda: (x * x).sum(axes, keepdims=keep),
    }[name]()


BUILDS: dict[str, Any] = {
    name: lambda x, op=name: getattr(mb, op)(x=x, axes=[0, -1], keep_dims=False) for name in REDUCTIONS
} | {
    "keep_dims": lambda x: mb.reduce_mean(x=x, axes=[1], keep_dims=True),
    "all": lambda x: mb.reduce_sum(x=x),
    "argmax": lambda x: mb.reduce_argmax(x=x, axis=1),
    "argmin": lambda x: mb.cast(x=mb.reduce_argmin(x=x, axis=2, keep_dims=True, output_dtype="uint16"), dtype="int32"),
    "cumsum": lambda x: mb.cumsum(x=x, axis=1, exclusive=True, reverse=True),
    "argsort": lambda x: mb.argsort(x=x, axis=1, ascending=True),
    "topk": lambda x: mb.topk(x=x, k=2, axis=1),
    "topk_values": lambda x: mb.topk(x=x, k=3, axis=-1, ascending=True, return_indices=False),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = saved_cases(BUILDS, X.shape, tmp_path_factory.mktemp("reduce") / "a.mlpackage")
    return program.run({"x": X})


@pytest.mark.parametrize("name", REDUCTIONS)
def test_saved_reduction_matches_its_formula(name: str, outputs: dict[str, Any]) -> None:
    np.testing.assert_allclose(outputs[name], _formula(name, X, (0, -1), keep=False), rtol=1e-5)


def test_saved_orderings_match_numpy(outputs: dict[str, Any]) -> None:
    np.testing.assert_allclose(outputs["keep_dims"], X.mean(1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(outputs["all"], X.sum(), rtol=1e-6)
    np.testing.assert_array_equal(outputs["argmax"], X.argmax(1))
    np.testing.assert_array_equal(outputs["argmin"], X.argmin(2, keepdims=True))
    after = X[:, ::-1].cumsum(1)[:, ::-1] - X
    np.testing.assert_allclose(outputs["cumsum"], after, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(outputs["argsort"], X.argsort(1))
    np.testing.assert_array_equal(outputs["topk_part0"], -np.sort(-X, 1)[:, :2])
    np.testing.assert_array_equal(outputs["topk_part1"], np.argsort(-X, 1)[:, :2])
    np.testing.assert_array_equal(outputs["topk_values"], np.sort(X, -1)[..., :3])


@PROPERTY
@given(data=st.data(), name=st.sampled_from(REDUCTIONS), keep=st.booleans())
def test_reductions_over_any_axes(data: st.DataObject, name: str, keep: bool) -> None:
    shape = data.draw(array_shapes(min_dims=1, max_dims=4, max_side=3))
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    x = data.draw(arrays(np.float32, shape, elements=st.floats(0.5, 2, width=16)))
    ours = computed(name, x=x, axes=axes, keep_dims=keep)
    np.testing.assert_allclose(ours, _formula(name, x, axes, keep), rtol=1e-5, atol=1e-5)


@PROPERTY
@given(data=st.data(), ascending=st.booleans())
def test_topk_and_argsort_agree_with_coremltools(data: st.DataObject, ascending: bool) -> None:
    shape = data.draw(array_shapes(min_dims=1, max_dims=3, max_side=5))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    x = data.draw(arrays(np.float32, shape, elements=st.integers(-1000, 1000).map(float), unique=True))
    values, indices = inferred("topk", target=ct.target.iOS16, x=x, k=k, axis=axis, ascending=ascending)
    ours = computed("topk", x=x, k=k, axis=axis, ascending=ascending)
    np.testing.assert_array_equal(ours[0], values)
    np.testing.assert_array_equal(ours[1], indices)
    order = inferred("argsort", x=x, axis=axis, ascending=ascending)
    np.testing.assert_array_equal(computed("argsort", x=x, axis=axis, ascending=ascending), order)


def test_topk_takes_everything_for_minus_one_and_the_first_of_equal_values() -> None:
    values, indices = computed("topk", x=np.array([1.0, 3.0, 3.0, 2.0], np.float32), k=-1)
    np.testing.assert_array_equal(values, [3, 3, 2, 1])
    np.testing.assert_array_equal(indices, [1, 2, 3, 0])


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("k", [1, 5, 39])
def test_of_equal_values_topk_takes_the_first_in_every_row(ascending: bool, k: int) -> None:
    x = np.random.default_rng(k).integers(0, 9, (2, 40, 30)).astype(np.float32)
    different = np.tile(np.arange(40.0)[:, None], 20)
    x[0, :, :20] = np.random.default_rng(k).permuted(different, axis=0)
    x[1, 3, 5] = np.nan
    values, indices = computed("topk", x=x, k=k, axis=1, ascending=ascending)
    expected, places = torch.from_numpy(x).sort(dim=1, descending=not ascending, stable=True)
    np.testing.assert_array_equal(indices, places[:, :k])
    np.testing.assert_array_equal(values, expected[:, :k])


@PROPERTY
@given(data=st.data(), exclusive=st.booleans(), reverse=st.booleans())
def test_cumulative_sums(data: st.DataObject, exclusive: bool, reverse: bool) -> None:
    shape = data.draw(array_shapes(min_dims=1, max_dims=3, max_side=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = noise(*shape)
    turned = np.flip(x, axis) if reverse else x
    total = turned.cumsum(axis) - (turned if exclusive else 0)
    ours = computed("cumsum", x=x, axis=axis, exclusive=exclusive, reverse=reverse)
    np.testing.assert_allclose(ours, np.flip(total, axis) if reverse else total, atol=1e-5)
