"""Couplformer: attention as the Kronecker product of a row map and a column map (arXiv 2112.05425, WACV 2023).

This is the isotropic family, with sequence pooling; the pyramid is in ``couplformer_pyramid``. The module names follow
the authors' state dict, so their checkpoints load strictly. ``attention="regular"`` builds the same skeleton with
ordinary softmax attention, the baseline of the paper's memory claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.layers import (
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

Positions = Literal["sine", "learnable"]
AttentionKind = Literal["coupling", "regular"]


class CouplingAttention(nn.Module):
    """Coupling attention over raster-order tokens (B, H*W, C): per head, y = A V B^T (paper, section 3).

    A (H x H) compares rows and B (W x W) compares columns of the token grid, both from the same q and k, so the N x N
    map is never built.

    Args:
        dim: C.
        heads: Number of heads; divides C.
        grid: H and W.
        qkv_bias: Whether the joint projection has a bias.
        scale_power: Scores are multiplied by (C / heads) ** scale_power.
        channel_merge: ``pooling`` compares the maximum over a head's channels in place of the channels.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        grid: Size,
        *,
        qkv_bias: bool,
        scale_power: float = -0.25,
        channel_merge: Literal["pooling"] | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.grid = grid
        self.scale = (dim // heads) ** scale_power
        self.channel_merge = channel_merge
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over ``x`` (B, H*W, C)."""
        batch, tokens, channels = x.shape
        height, width = self.grid
        head_dim = channels // self.heads
        q, k, v = (
            part.reshape(batch, height, width, self.heads, head_dim).permute(0, 3, 1, 2, 4)
            for part in self.qkv(x).chunk(3, dim=-1)
        )  # each (B, heads, H, W, d)
        if self.channel_merge == "pooling":
            q, k = q.amax(dim=-1, keepdim=True), k.amax(dim=-1, keepdim=True)
        rows = self._compare(q, k)
        columns = self._compare(q.transpose(2, 3), k.transpose(2, 3))
        y = (rows @ v.flatten(3)).reshape(batch, self.heads, height, width, head_dim)
        y = (columns @ y.transpose(2, 3).flatten(3)).reshape(batch, self.heads, width, height, head_dim)
        out: Tensor = self.proj(y.permute(0, 3, 2, 1, 4).reshape(batch, tokens, channels))
        return out

    def _compare(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the softmax map (B, heads, L, L) of the third axis of q and k (B, heads, L, M, d)."""
        scores = q.flatten(3) @ k.flatten(3).transpose(-2, -1)
        maps: Tensor = (scores * self.scale).softmax(dim=-1)
        return maps


class RegularAttention(nn.Module):
    """Ordinary multi-head softmax attention with the same weights as coupling attention."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over ``x`` (B, N, C)."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.proj(merge_heads(attend(q * self.scale, k, v)))
        return out


def make_attention(
    kind: AttentionKind,
    dim: int,
    heads: int,
    grid: Size,
    *,
    qkv_bias: bool,
    scale_power: float,
    channel_merge: Literal["pooling"] | None = None,
) -> nn.Module:
    """Return coupling attention, or the regular one that it replaces.

    Raises:
        ValueError: An unknown kind or merge, or heads that do not divide the channels.
    """
    if dim % heads:
        raise ValueError(f"{heads} heads do not evenly divide {dim} channels")
    if channel_merge not in (None, "pooling"):
        raise ValueError(f"channel_merge is pooling or nothing, not {channel_merge}")
    if kind == "coupling":
        return CouplingAttention(
            dim, heads, grid, qkv_bias=qkv_bias, scale_power=scale_power, channel_merge=channel_merge
        )
    if kind == "regular":
        return RegularAttention(dim, heads, qkv_bias=qkv_bias)
    raise ValueError(f"attention is coupling or regular, not {kind}")


def sine_positions(tokens: int, dim: int) -> Tensor:
    """Return the fixed table (1, tokens, dim): sine at even channels, cosine at odd ones, in pairs of one frequency."""
    place = torch.arange(tokens, dtype=torch.float64)[:, None]
    channel = torch.arange(dim)
    angle = place / 10000 ** (2 * (channel // 2) / dim)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()[None]


def position_table(kind: Positions, tokens: int, dim: int) -> nn.Parameter:
    """Return the position table (1, tokens, dim), fixed or to be learned.

    Raises:
        ValueError: An unknown kind.
    """
    if kind == "sine":
        return nn.Parameter(sine_positions(tokens, dim), requires_grad=False)
    if kind == "learnable":
        return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, dim), std=0.2))
    raise ValueError(f"positional_embedding is sine or learnable, not {kind}")


def fit_positions(
    state_dict: Mapping[str, Tensor], key: str, own: Tensor, grid: Size, *, fixed: bool
) -> dict[str, Tensor]:
    """Return the checkpoint with its position table fitted to the model's own (1, N, C) where their grids differ.

    A fixed table of another length is replaced by the model's. A learned one is resized; a square number of positions
    is read as a square grid, also where ``grid`` is another of that count
    (:func:`~mobilevit_tools.models.tables.reads_as_square`).
    """
    fitted = dict(state_dict)
    if key not in fitted:
        return fitted
    other_count = fitted[key].shape[1:2] != own.shape[1:2]
    if fixed and other_count:
        fitted[key] = own.detach().clone()
    elif not fixed and (other_count or reads_as_square(grid)):
        fitted[key] = resize_positions(fitted[key], grid)
    return fitted


class IsotropicBlock(nn.Module):
    """A block of the kct family; its second residual starts from the normalised stream."""

    def __init__(self, dim: int, hidden: int, attention: nn.Module) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(dim)
        self.self_attn = attention
        self.linear1 = nn.Linear(dim, hidden)
        self.norm1 = nn.LayerNorm(dim)
        self.linear2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to the same shape."""
        x = self.norm1(x + self.self_attn(self.pre_norm(x)))
        out: Tensor = x + self.linear2(F.gelu(self.linear1(x)))
        return out


class Tokenizer(nn.Module):
    """Non-overlapping patches to tokens: (B, 3, H, W) to (B, N, C)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.conv_layers = nn.Sequential(nn.Sequential(nn.Conv2d(3, dim, patch, stride=patch)))

    def forward(self, x: Tensor) -> Tensor:
        """Embed the image ``x``."""
        tokens: Tensor = self.conv_layers(x).flatten(2).transpose(1, 2)
        return tokens


class Classifier(nn.Module):
    """Positions, blocks and, unless only features are wanted, sequence pooling and the linear head."""

    def __init__(
        self, positions: nn.Parameter, blocks: Sequence[nn.Module], dim: int, num_classes: int, *, features_only: bool
    ) -> None:
        super().__init__()
        self.positional_emb = positions
        self.blocks = nn.ModuleList(blocks)
        if not features_only:
            self.attention_pool = nn.Linear(dim, 1)
            self.norm = nn.LayerNorm(dim)
            self.fc = nn.Linear(dim, num_classes)

    def block_outputs(self, x: Tensor) -> list[Tensor]:
        """Return the tokens (B, N, C) after every block."""
        x = x + self.positional_emb
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to logits (B, num_classes)."""
        x = self.norm(self.block_outputs(x)[-1])
        importance = self.attention_pool(x).softmax(dim=1)
        logits: Tensor = self.fc((importance.transpose(1, 2) @ x).squeeze(1))
        return logits


class Couplformer(nn.Module):
    """The isotropic family: one token grid throughout, over inputs of the size that it was built for.

    The forward pass returns logits (B, num_classes), or with ``features_only`` the maps (B, C, H/p, W/p) after the
    last three blocks.
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        mlp_ratio: int,
        embedding_dim: int,
        *,
        img_size: int | Size = 32,
        patch_size: int = 4,
        positional_embedding: Positions = "sine",
        num_classes: int = 10,
        scale_power: float = -0.25,
        attention: AttentionKind = "coupling",
        features_only: bool = False,
    ) -> None:
        super().__init__()
        self.img_size = as_pair(img_size)
        self.grid = token_grid(img_size, patch_size)
        self.features_only = features_only
        self.fixed_positions = positional_embedding == "sine"
        mixers = [
            make_attention(attention, embedding_dim, num_heads, self.grid, qkv_bias=False, scale_power=scale_power)
            for _ in range(num_layers)
        ]
        self.tokenizer = Tokenizer(embedding_dim, patch_size)
        self.classifier = Classifier(
            position_table(positional_embedding, self.grid[0] * self.grid[1], embedding_dim),
            [IsotropicBlock(embedding_dim, mlp_ratio * embedding_dim, mixer) for mixer in mixers],
            embedding_dim,
            num_classes,
            features_only=features_only,
        )
        self.feature_channels = (embedding_dim,) * min(3, num_layers)
        self.feature_strides = (patch_size,) * min(3, num_layers)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits, or the last blocks' maps (``features_only``)."""
        check_built_size(x, self.img_size)
        tokens = self.tokenizer(x)
        if self.features_only:
            return [to_map(y, self.grid) for y in self.classifier.block_outputs(tokens)[-3:]]
        logits: Tensor = self.classifier(tokens)
        return logits


def adapt_state_dict(model: Couplformer, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fit a checkpoint trained at another input size: learned positions are resized, fixed ones are made anew."""
    key, own = "classifier.positional_emb", model.classifier.positional_emb
    return fit_positions(state_dict, key, own, model.grid, fixed=model.fixed_positions)


couplformer_kct2 = partial(Couplformer, 2, 2, 1, 128)
couplformer_kct4 = partial(Couplformer, 4, 2, 1, 128)
couplformer_kct6 = partial(Couplformer, 6, 4, 2, 256)
couplformer_kct7 = partial(Couplformer, 7, 4, 2, 256)
couplformer_kct8 = partial(Couplformer, 8, 128, 2, 256)
_imagenet = partial(Couplformer, img_size=224, patch_size=16, positional_embedding="learnable", num_classes=1000)
couplformer_kct14 = partial(_imagenet, 14, 6, 3, 384)
couplformer_kct16 = partial(_imagenet, 16, 6, 3, 384)
