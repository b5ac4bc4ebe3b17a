"""DeiT: the plain vision transformer with a class token and learned positions (arXiv 2012.12877, ICML 2021).

The module names are those of the authors' and timm's state dicts, so both load strictly. These are the regular
attention hosts that the other families are compared with, and the hosts that ``armour`` swaps its attention into.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from mobilevit_tools.models.layers import (
    Mlp,
    PatchEmbed,
    Size,
    as_pair,
    attend,
    check_built_size,
    initialise,
    merge_heads,
    split_heads,
    to_map,
    token_grid,
)
from mobilevit_tools.models.tables import reads_as_square, resize_positions

EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, C), dropout on its output in training."""

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over ``x`` (B, N, C)."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.proj_drop(self.proj(merge_heads(attend(q * self.scale, k, v))))
        return out


class Block(nn.Module):
    """Pre-norm attention and MLP, each with its residual."""

    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class DeiT(nn.Module):
    """DeiT with 12 blocks over 16x16 patches of an input of the size that it was built for.

    The forward pass returns logits (B, num_classes), or with ``features_only`` the maps (B, C, H/16, W/16) after the
    last three blocks, without the class token and before the final norm.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        img_size: int | Size = 224,
        num_classes: int = 1000,
        dropout: float = 0.0,
        features_only: bool = False,
        attention: Callable[..., nn.Module] = Attention,
    ) -> None:
        super().__init__()
        self.img_size = as_pair(img_size)
        self.grid = token_grid(img_size, 16)
        self.features_only = features_only
        self.patch_embed = PatchEmbed(3, dim, 16, 16, norm=False)
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02))
        positions = torch.empty(1, 1 + self.grid[0] * self.grid[1], dim)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(positions, std=0.02))
        self.blocks = nn.ModuleList([Block(dim, attention(dim, heads, dropout=dropout)) for _ in range(12)])
        if not features_only:
            self.norm = nn.LayerNorm(dim, eps=EPS)
            self.head = nn.Linear(dim, num_classes)
        self.feature_channels = (dim,) * 3
        self.feature_strides = (16,) * 3
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits, or the last three blocks' maps (``features_only``)."""
        check_built_size(x, self.img_size)
        x, _ = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        if self.features_only:
            return [to_map(tokens[:, 1:], self.grid) for tokens in outputs[-3:]]
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


def adapt_state_dict(model: DeiT, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Resize the positions of a checkpoint that was trained at another input size; the class token's stays.

    A square number of positions is read as a square grid, also where the model's own grid is another of that count
    (:func:`~mobilevit_tools.models.tables.reads_as_square`).
    """
    adapted = dict(state_dict)
    positions = adapted.get("pos_embed")
    if positions is None:
        return adapted
    if positions.shape[1:2] != model.pos_embed.shape[1:2] or reads_as_square(model.grid):
        adapted["pos_embed"] = resize_positions(positions, model.grid, prefix=1)
    return adapted


deit_t = partial(DeiT, 192, 3)
deit_s = partial(DeiT, 384, 6)
deit_b = partial(DeiT, 768, 12)
