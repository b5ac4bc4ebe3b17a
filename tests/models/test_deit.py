"""DeiT has the keys of the published checkpoints, and computes what torch's own encoder computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mobilevit_tools.models import deit
from mobilevit_tools.models.factory import create_model
from mobilevit_tools.models.tables import resize_positions


def published_keys(dim: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Return the keys and shapes of the authors' and timm's checkpoints."""
    keys: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, 197, dim),
        "patch_embed.proj.weight": (dim, 3, 16, 16),
        "patch_embed.proj.bias": (dim,),
    }
    for block in range(12):
        for name, shape in {
            "norm1": (dim,),
            "attn.qkv": (3 * dim, dim),
            "attn.proj": (dim, dim),
            "norm2": (dim,),
            "mlp.fc1": (4 * dim, dim),
            "mlp.fc2": (dim, 4 * dim),
        }.items():
            keys[f"blocks.{block}.{name}.weight"] = shape
            keys[f"blocks.{block}.{name}.bias"] = shape[:1]
    keys |= {"norm.weight": (dim,), "norm.bias": (dim,), "head.weight": (classes, dim), "head.bias": (classes,)}
    return keys


@pytest.mark.parametrize(("name", "dim"), [("deit_t", 192), ("deit_s", 384), ("deit_b", 768)])
def test_the_keys_are_the_published_ones(name: str, dim: int) -> None:
    with torch.device("meta"):
        model = getattr(deit, name)()
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == published_keys(dim, 1000)


def test_it_computes_what_torchs_own_encoder_computes() -> None:
    model = create_model("deit_t", random_weights=True, img_size=32, num_classes=5).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        patches = model.patch_embed.proj(x).flatten(2).mT
        tokens = torch.cat([model.cls_token.expand(2, -1, -1), patches], dim=1) + model.pos_embed
        for block in model.blocks:
            layer = nn.TransformerEncoderLayer(
                192, 3, 768, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
            )
            weights = block.state_dict()
            names = {
                "attn.qkv.": "self_attn.in_proj_",
                "attn.proj.": "self_attn.out_proj.",
                "mlp.fc1.": "linear1.",
                "mlp.fc2.": "linear2.",
            }
            for old, new in names.items():
                weights = {key.replace(old, new): value for key, value in weights.items()}
            layer.double().eval().load_state_dict(weights)
            tokens = layer(tokens)
        expected = model.head(model.norm(tokens)[:, 0])
        torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("wrapped", [True, False], ids=["the authors' layout", "timm's layout"])
def test_published_checkpoints_load_and_are_resized(wrapped: bool, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {key: 0.02 * torch.randn(shape, generator=generator) for key, shape in published_keys(192, 1000).items()}
    path = tmp_path / "deit.pth"
    torch.save({"model": state} if wrapped else state, path)
    same = create_model("deit_t", checkpoint=path)
    assert torch.equal(same.pos_embed, state["pos_embed"])
    other = create_model("deit_t", checkpoint=path, img_size=(96, 160))
    assert other.pos_embed.shape == (1, 1 + 6 * 10, 192)
    assert torch.equal(other.pos_embed[:, 0], state["pos_embed"][:, 0])
    maps = create_model("deit_t", checkpoint=path, features_only=True)(torch.zeros(1, 3, 224, 224))
    assert [tuple(found.shape) for found in maps] == [(1, 192, 14, 14)] * 3


def test_another_grid_of_as_many_tokens_is_resized(tmp_path: Path) -> None:
    path = tmp_path / "deit.pth"
    trained = create_model("deit_t", random_weights=True, img_size=64, num_classes=2).state_dict()
    torch.save(trained, path)
    wide = create_model("deit_t", checkpoint=path, img_size=(32, 128)).pos_embed
    assert torch.equal(wide, resize_positions(trained["pos_embed"], (2, 8), prefix=1))
    assert not torch.equal(wide, trained["pos_embed"])
    assert torch.equal(create_model("deit_t", checkpoint=path, img_size=64).pos_embed, trained["pos_embed"])
