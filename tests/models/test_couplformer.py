"""Coupling attention is the Kronecker product of two small maps, in both families."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.couplformer import CouplingAttention, RegularAttention, sine_positions
from mobilevit_tools.models.couplformer_pyramid import PatchMerging
from mobilevit_tools.models.factory import create_model
from mobilevit_tools.models.tables import resize_positions

GRID = (3, 5)


def dense_coupling(layer: CouplingAttention, x: Tensor, *, pooled: bool) -> Tensor:
    """Build the whole N x N map of every head as a Kronecker product, from the definition's sums."""
    height, width = GRID
    dim = x.shape[-1]
    head_dim = dim // layer.heads
    out = torch.zeros_like(x)
    for image in range(x.shape[0]):
        qkv = x[image] @ layer.qkv.weight.T + (0 if layer.qkv.bias is None else layer.qkv.bias)
        for head in range(layer.heads):
            q, k, v = (qkv[:, part * dim + head * head_dim :][:, :head_dim] for part in range(3))
            q_grid, k_grid = q.reshape(height, width, head_dim), k.reshape(height, width, head_dim)
            if pooled:
                q_grid, k_grid = q_grid.max(dim=-1, keepdim=True).values, k_grid.max(dim=-1, keepdim=True).values
            scale = head_dim**layer_power
            rows = scale * torch.einsum("iwc,jwc->ij", q_grid, k_grid)
            columns = scale * torch.einsum("hic,hjc->ij", q_grid, k_grid)
            whole = torch.kron(rows.softmax(dim=-1), columns.softmax(dim=-1))
            assert whole.shape == (height * width, height * width)
            out[image, :, head * head_dim : (head + 1) * head_dim] = whole @ v
    return out @ layer.proj.weight.T + layer.proj.bias


layer_power = -0.25


@pytest.mark.parametrize("merge", [None, "pooling"])
@pytest.mark.parametrize("bias", [True, False])
def test_coupling_attention_is_the_dense_kronecker_map(merge: str | None, bias: bool) -> None:
    torch.manual_seed(0)
    layer = CouplingAttention(12, 3, GRID, qkv_bias=bias, channel_merge=merge).double()
    x = torch.randn(2, 15, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), dense_coupling(layer, x, pooled=merge is not None))


def test_the_scale_is_an_option() -> None:
    torch.manual_seed(0)
    a = CouplingAttention(32, 2, GRID, qkv_bias=True)
    b = CouplingAttention(32, 2, GRID, qkv_bias=True, scale_power=-0.5)
    assert a.scale == pytest.approx(0.5)
    assert b.scale == pytest.approx(0.25)


def test_the_regular_baseline_has_the_same_weights_and_is_softmax_attention() -> None:
    torch.manual_seed(0)
    coupling, regular = CouplingAttention(8, 2, GRID, qkv_bias=True), RegularAttention(8, 2, qkv_bias=True)
    assert {k: v.shape for k, v in coupling.state_dict().items()} == {
        k: v.shape for k, v in regular.state_dict().items()
    }
    oracle = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    weights = regular.state_dict()
    oracle.load_state_dict(
        {
            "in_proj_weight": weights["qkv.weight"],
            "in_proj_bias": weights["qkv.bias"],
            "out_proj.weight": weights["proj.weight"],
            "out_proj.bias": weights["proj.bias"],
        }
    )
    x = torch.randn(2, 15, 8)
    torch.testing.assert_close(regular(x), oracle(x, x, x, need_weights=False)[0])


def test_sine_positions_pair_a_sine_and_a_cosine_of_one_frequency() -> None:
    table = sine_positions(9, 6)
    assert table.shape == (1, 9, 6)
    for place in range(9):
        for channel in range(6):
            angle = place / 10000 ** (2 * (channel // 2) / 6)
            expected = math.cos(angle) if channel % 2 else math.sin(angle)
            assert table[0, place, channel].item() == pytest.approx(expected, abs=1e-6)


def test_merging_joins_neighbours_in_swins_order() -> None:
    merging = PatchMerging(1, (2, 4))
    with torch.no_grad():
        merging.norm = torch.nn.Identity()
        merging.reduction = torch.nn.Identity()
    tokens = torch.arange(8.0).reshape(1, 8, 1)  # the grid 0 1 2 3 over 4 5 6 7
    assert merging(tokens).tolist() == [[[0, 4, 1, 5], [2, 6, 3, 7]]]


@pytest.mark.parametrize("name", ["couplformer_kct2", "couplformer_pyramid_t"])
def test_learned_positions_of_another_size_are_resized(name: str, tmp_path: pytest.TempPathFactory) -> None:
    options = {"positional_embedding": "learnable"}
    small = create_model(name, random_weights=True, img_size=32, **options)
    key = next(key for key in small.state_dict() if key.endswith("positional_emb"))
    state = {**small.state_dict(), key: torch.full_like(small.state_dict()[key], 0.25)}
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    large = create_model(name, checkpoint=path, img_size=(64, 96), **options)
    side = 4
    assert large.state_dict()[key].shape[1] == (64 // side) * (96 // side)
    assert torch.allclose(large.state_dict()[key], torch.tensor(0.25))


@pytest.mark.parametrize("name", ["couplformer_kct2", "couplformer_pyramid_t"])
def test_learned_positions_of_another_grid_of_as_many_tokens_are_resized(name: str, tmp_path: Path) -> None:
    options = {"positional_embedding": "learnable"}
    square, wide = ((32, 32), (16, 64)) if name == "couplformer_kct2" else ((64, 64), (32, 128))
    trained = create_model(name, random_weights=True, img_size=square, **options).state_dict()
    key = next(key for key in trained if key.endswith("positional_emb"))
    torch.save(trained, tmp_path / "weights.pth")
    loaded = create_model(name, checkpoint=tmp_path / "weights.pth", img_size=wide, **options).state_dict()
    assert torch.equal(loaded[key], resize_positions(trained[key], (wide[0] // 4, wide[1] // 4)))
    assert not torch.equal(loaded[key], trained[key])


def test_fixed_positions_of_another_size_are_made_anew(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "weights.pth"
    torch.save(create_model("couplformer_kct2", random_weights=True, img_size=32).state_dict(), path)
    large = create_model("couplformer_kct2", checkpoint=path, img_size=64)
    assert torch.equal(large.classifier.positional_emb, sine_positions(256, 128))


def test_another_input_size_than_the_builts_is_refused() -> None:
    model = create_model("couplformer_kct2", random_weights=True)
    with pytest.raises(BadInputError, match="built for 32x32 inputs and got 64x64"):
        model(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    "options", [{"attention": "none"}, {"positional_embedding": "rotary"}, {"patch_size": -4}], ids=str
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        create_model("couplformer_kct2", random_weights=True, **options)
