from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml.ops import OPERATORS
from tests.runtimes.coreml.building import PROPERTY, computed, inferred, mb, noise, saved_cases

BUILDS: dict[str, Any] = {
    "reshape": lambda x: mb.reshape(x=x, shape=[0, -1, 2]),
    "reshape_like": lambda x: mb.reshape_like(
        x=x,
        ref_tensors=(mb.transpose(x=x, perm=[3, 2, 0, 1]), mb.transpose(x=x, perm=[0, 2, 3, 1])),
        begins=(0, 3),
        ends=(3, 0),
        end_masks=(False, True),
    ),
    "flatten2d": lambda x: mb.flatten2d(x=x, axis=2),
    "expand_dims": lambda x: mb.expand_dims(x=mb.reduce_sum(x=x, axes=[2, 3]), axes=[0, -1]),
    "squeeze": lambda x: mb.squeeze(x=mb.reduce_sum(x=x, axes=[1, 3], keep_dims=True), axes=[1]),
    "squeeze_all": lambda x: mb.squeeze(x=mb.reduce_sum(x=x, axes=[1, 3], keep_dims=True)),
    "transpose": lambda x: mb.transpose(x=x, perm=[0, 2, 3, 1]),
    "concat": lambda x: mb.concat(values=(x, mb.relu(x=x)), axis=-1),
    "interleave": lambda x: mb.concat(values=(x, mb.relu(x=x)), axis=1, interleave=True),
    "stack": lambda x: mb.stack(values=(x, mb.relu(x=x)), axis=2),
    "split": lambda x: mb.split(x=x, num_splits=2, axis=1),
    "split_sizes": lambda x: mb.split(x=x, split_sizes=[1, 3], axis=2),
    "reverse": lambda x: mb.reverse(x=x, axes=[1, -1]),
    "reverse_sequence": lambda x: mb.reverse_sequence(x=x, lengths=[3, 1], seq_axis=2, batch_axis=0),
    "pixel_shuffle": lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
    "pixel_unshuffle": lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
    "depth_to_space": lambda x: mb.depth_to_space(x=x, block_size=2),
    "space_to_depth": lambda x: mb.space_to_depth(x=x, block_size=2),
    "space_to_batch": lambda x: mb.space_to_batch(x=x, block_shape=[2, 3], paddings=[[1, 1], [0, 0]]),
    "batch_to_space": lambda x: mb.batch_to_space(x=x, block_shape=[2, 1], crops=[[1, 0], [0, 2]]),
    "identity": lambda x: mb.identity(x=x),
}
X = noise(2, 8, 4, 6)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = saved_cases(BUILDS, X.shape, tmp_path_factory.mktemp("shape") / "a.mlpackage")
    return program.run({"x": X})


def _blocks_out(x: np.ndarray, block: int) -> np.ndarray:
    """Every channel of the result takes the pixels of a block from channels that are a block's worth apart."""
    n, c, h, w = x.shape
    out = np.zeros((n, c // block**2, h * block, w * block), x.dtype)
    for row in range(block):
        for column in range(block):
            first = (row * block + column) * (c // block**2)
            out[:, :, row::block, column::block] = x[:, first : first + c // block**2]
    return out


def test_saved_rearrangements_match_numpy(outputs: dict[str, Any]) -> None:
    relu = np.maximum(X, 0)
    reversed_rows = X.copy()
    reversed_rows[0, :, :3] = X[0, :, 2::-1]
    interleaved = np.empty((2, 16, 4, 6), np.float32)
    interleaved[:, 0::2], interleaved[:, 1::2] = X, relu
    padded = np.pad(X, [(0, 0), (0, 0), (1, 1), (0, 0)])
    to_batch = np.concatenate([padded[:, :, row::2, column::3] for row in range(2) for column in range(3)])
    from_batch = np.empty((1, 8, 8, 6), np.float32)
    from_batch[0, :, 0::2], from_batch[0, :, 1::2] = X[0], X[1]
    sums = X.sum((1, 3))
    expected = {
        "reshape": X.reshape(8, -1, 2),  # zeros count from the last dimension
        "reshape_like": X.reshape(6, 4, 2, 8),
        "flatten2d": X.reshape(16, 24),
        "expand_dims": X.sum((2, 3))[None, :, :, None],
        "squeeze": sums[:, :, None],
        "squeeze_all": sums,
        "transpose": X.transpose(0, 2, 3, 1),
        "concat": np.concatenate([X, relu], -1),
        "interleave": interleaved,
        "stack": np.stack([X, relu], 2),
        "split_part0": X[:, :4],
        "split_part1": X[:, 4:],
        "split_sizes_part0": X[:, :, :1],
        "split_sizes_part1": X[:, :, 1:],
        "reverse": X[:, ::-1, :, ::-1],
        "reverse_sequence": reversed_rows,
        "pixel_shuffle": F.pixel_shuffle(torch.from_numpy(X), 2).numpy(),
        "pixel_unshuffle": F.pixel_unshuffle(torch.from_numpy(X), 2).numpy(),
        "depth_to_space": _blocks_out(X, 2),
        "space_to_batch": to_batch,
        "batch_to_space": from_batch[:, :, 1:, :-2],
        "identity": X,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(_blocks_out(outputs["space_to_depth"], 2), X)


@PROPERTY
@given(data=st.data())
def test_reshape_with_zeros_and_minus_one_agrees_with_coremltools(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    shape = list(sizes)
    shape[data.draw(st.integers(0, len(sizes) - 1))] = -1
    for axis in data.draw(st.sets(st.integers(0, len(sizes) - 1))):
        shape[axis] = 0 if shape[axis] != -1 else -1
    x = noise(*sizes)
    np.testing.assert_array_equal(computed("reshape", x=x, shape=tuple(shape)), inferred("reshape", x=x, shape=shape))


def test_reshape_counts_zeros_from_the_last_dimension() -> None:
    x = noise(2, 50)
    ours = computed("reshape", x=x, shape=(1, 0, -1, 0))
    assert ours.shape == inferred("reshape", target=ct.target.iOS17, x=x, shape=[1, 0, -1, 0]).shape == (1, 1, 2, 50)


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 3))
def test_expand_and_squeeze_agree_with_coremltools(data: st.DataObject, rank: int) -> None:
    x = noise(*[data.draw(st.integers(1, 3)) for _ in range(rank)])
    axes = sorted(data.draw(st.sets(st.integers(-rank - 1, rank), min_size=1, max_size=1)))
    expanded = computed("expand_dims", x=x, axes=tuple(axes))
    np.testing.assert_array_equal(expanded, inferred("expand_dims", x=x, axes=axes))
    np.testing.assert_array_equal(computed("squeeze", x=expanded, axes=tuple(axes)), x)


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 4))
def test_transpose_reverse_and_flatten_agree_with_coremltools(data: st.DataObject, rank: int) -> None:
    x = noise(*[data.draw(st.integers(1, 3)) for _ in range(rank)])
    perm = data.draw(st.permutations(range(rank)))
    np.testing.assert_array_equal(computed("transpose", x=x, perm=tuple(perm)), inferred("transpose", x=x, perm=perm))
    axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    np.testing.assert_array_equal(computed("reverse", x=x, axes=tuple(axes)), inferred("reverse", x=x, axes=axes))
    axis = data.draw(st.integers(-rank, rank - 1))
    rows = int(np.prod(x.shape[:axis]))
    np.testing.assert_array_equal(computed("flatten2d", x=x, axis=axis), x.reshape(rows, -1))


@PROPERTY
@given(data=st.data(), rank=st.integers(1, 3))
def test_joins_and_splits_undo_each_other(data: st.DataObject, rank: int) -> None:
    axis = data.draw(st.integers(-rank, rank - 1))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    shape = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    shape[axis] = sum(sizes)
    x = noise(*shape)
    parts = computed("split", x=x, axis=axis, split_sizes=tuple(sizes))
    for ours, theirs in zip(parts, inferred("split", x=x, axis=axis, split_sizes=sizes), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    joined = computed("concat", values=tuple(map(torch.from_numpy, parts)), axis=axis)
    np.testing.assert_array_equal(joined, x)


def test_impossible_rearrangements_are_refused() -> None:
    with pytest.raises(BadInputError, match="3 equal parts of 4"):
        computed("split", x=noise(4), axis=0, num_splits=3)
    with pytest.raises(BadInputError, match="squeeze"):
        computed("squeeze", x=noise(2, 1), axes=(0,))


def test_joined_values_keep_the_layout_of_convolutions_where_one_has_it() -> None:
    plain, laid_out = torch.from_numpy(noise(1, 2, 3, 4)), torch.from_numpy(noise(1, 5, 3, 4, seed=1))
    laid_out = laid_out.contiguous(memory_format=torch.channels_last)
    views = laid_out.split([2, 3], 1)
    for values in ((plain, laid_out), (laid_out, plain, *views)):
        joined = OPERATORS["concat"].function(values, 1)
        assert joined.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_array_equal(joined, np.concatenate(values, 1))
