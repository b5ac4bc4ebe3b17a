from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.runtimes.coreml.building import PROPERTY, computed, inferred, mb, noise, saved_cases

X = noise(2, 3, 4, 5)
WEIGHT, BIAS = noise(7, 5, seed=1), noise(7, seed=2)
KEY, VALUE = noise(2, 3, 6, 5, seed=3), noise(2, 3, 6, 2, seed=4)
MASK = np.array([[0, 1, 1, 0, 1, 1]] * 4, bool)

BUILDS: dict[str, Any] = {
    "linear": lambda x: mb.linear(x=x, weight=WEIGHT, bias=BIAS),
    "linear_plain": lambda x: mb.linear(x=x, weight=WEIGHT),
    "matmul": lambda x: mb.matmul(x=x, y=KEY, transpose_y=True),
    "matmul_transposed": lambda x: mb.matmul(x=x, y=noise(4, 2), transpose_x=True),
    "einsum": lambda x: mb.einsum(values=(x, noise(2, 5, 4, 3, seed=5)), equation="nchw,nwhu->nchu"),
    "attention": lambda x: mb.scaled_dot_product_attention(query=x, key=KEY, value=VALUE),
    "attention_masked": lambda x: mb.scaled_dot_product_attention(query=x, key=KEY, value=VALUE, attn_mask=MASK),
    "attention_biased": lambda x: mb.scaled_dot_product_attention(
        query=x, key=KEY, value=VALUE, attn_mask=noise(4, 6, seed=6)
    ),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return saved_cases(BUILDS, X.shape, tmp_path_factory.mktemp("linear") / "a.mlpackage", ct.target.iOS18).run(
        {"x": X}
    )


def _attention(bias: Any) -> np.ndarray:
    scores = X @ KEY.swapaxes(-1, -2) / np.sqrt(5) + bias
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ VALUE


def test_saved_products_match_numpy(outputs: dict[str, Any]) -> None:
    expected = {
        "linear": X @ WEIGHT.T + BIAS,
        "linear_plain": X @ WEIGHT.T,
        "matmul": X @ KEY.swapaxes(-1, -2),
        "matmul_transposed": X.swapaxes(-1, -2) @ noise(4, 2),
        "einsum": np.einsum("nchw,nwhu->nchu", X, noise(2, 5, 4, 3, seed=5)),
        "attention": _attention(0),
        "attention_masked": _attention(np.where(MASK, 0, -np.inf)),
        "attention_biased": _attention(noise(4, 6, seed=6)),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@PROPERTY
@given(data=st.data(), transpose_x=st.booleans(), transpose_y=st.booleans())
def test_matmul_broadcasts_its_batches_as_coremltools_does(
    data: st.DataObject, transpose_x: bool, transpose_y: bool
) -> None:
    rows, inner, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    batch = [data.draw(st.integers(1, 3)) for _ in range(data.draw(st.integers(0, 2)))]
    own = [1 if data.draw(st.booleans()) else size for size in batch]
    x = noise(*batch, *((inner, rows) if transpose_x else (rows, inner)))
    y = noise(*own, *((columns, inner) if transpose_y else (inner, columns)), seed=1)
    arguments = {"x": x, "y": y, "transpose_x": transpose_x, "transpose_y": transpose_y}
    np.testing.assert_allclose(computed("matmul", **arguments), inferred("matmul", **arguments), rtol=1e-4, atol=1e-5)


@PROPERTY
@given(n=st.integers(1, 3), c=st.integers(1, 3), h=st.integers(1, 3), w=st.integers(1, 4), wide=st.booleans())
def test_einsum_broadcasts_dimensions_of_one(n: int, c: int, h: int, w: int, wide: bool) -> None:
    x, y = noise(n, c, h, w), noise(1 if wide else n, w, 1 if wide else h, 2, seed=1)
    values = (torch.from_numpy(x), torch.from_numpy(y))
    equation = "nchw,nwhu->nchu"
    theirs = inferred("einsum", values=(x, y), equation=equation)
    np.testing.assert_allclose(computed("einsum", values=values, equation=equation), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("left", "right"), [(np.float32, np.int32), (np.int32, np.float32)])
def test_integers_meet_real_numbers(left: type, right: type) -> None:
    x, y = np.arange(6).reshape(2, 3).astype(left), np.arange(12).reshape(3, 4).astype(right)
    np.testing.assert_array_equal(computed("matmul", x=x, y=y), x @ y)
    bias = np.arange(4).astype(right)
    np.testing.assert_array_equal(computed("linear", x=x, weight=y.T.copy(), bias=bias), x @ y + bias)
