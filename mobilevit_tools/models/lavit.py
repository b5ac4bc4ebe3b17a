"""LaViT, the Less-Attention Vision Transformer (arXiv 2406.00427, CVPR 2024): this project's reconstruction.

The authors published no code. The mechanism is the paper's: in the late stages only the first layer computes
attention scores, and each further layer transforms the previous layer's. Widths, depths and the details of the layers
are this project's own, fitted to the published parameters and FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from mobilevit_tools.models.tables import (
    reads_as_square,
    resize_positions,
    resize_score_bias,
    resize_score_transform,
)

STRIDES = (4, 8, 16, 32)


class ReducedAttention(nn.Module):
    """Attention whose keys and values come from a map reduced by a kernel = stride convolution (stages 1-2)."""

    def __init__(self, dim: int, heads: int, grid: Size, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.grid = grid
        self.scale = (dim // heads) ** -0.5
        self.q = nn.Linear(dim, dim)
        self.reduce = PatchEmbed(dim, dim, reduction, reduction)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Attend over tokens ``x`` (B, N, C); the scores of these stages are not handed on."""
        reduced, _ = self.reduce(to_map(x, self.grid))
        k, v = (split_heads(part, self.heads) for part in self.kv(reduced).chunk(2, dim=-1))
        q = split_heads(self.q(x), self.heads) * self.scale
        return self.proj(merge_heads(attend(q, k, v))), scores


class VanillaAttention(nn.Module):
    """Multi-head attention that adds a residual to its scores, where there is one, and hands them on."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend over tokens ``x`` (B, N, C); ``scores`` (B, heads, N, N) or None, before softmax."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        own = q * self.scale @ k.transpose(-2, -1)
        scores = own if scores is None else own + scores
        return self.proj(merge_heads(scores.softmax(dim=-1) @ v)), scores


class LessAttention(nn.Module):
    """Attention without queries and keys: A_l = Psi(Theta(A_{l-1})^T)^T, Z = softmax(A_l) V (paper, section 3)."""

    def __init__(self, dim: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.heads = heads
        self.theta = nn.Linear(tokens, tokens)
        self.psi = nn.Linear(tokens, tokens)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Attend over tokens ``x`` (B, N, C) with the previous layer's ``scores`` (B, heads, N, N)."""
        scores = self.psi(self.theta(scores).transpose(-2, -1)).transpose(-2, -1)
        v = split_heads(self.v(x), self.heads)
        return self.proj(merge_heads(scores.softmax(dim=-1) @ v)), scores


class ScoreResidual(nn.Module):
    """Carry scores to the next stage: (B, heads, 4N, 4N) to (B, heads', N, N), four by four tokens to one."""

    def __init__(self, heads_in: int, heads_out: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(heads_in, heads_in, 4, stride=4, groups=heads_in)
        self.norm = nn.BatchNorm2d(heads_in)
        self.mix = nn.Conv1d(heads_in, heads_out, 1)

    def forward(self, scores: Tensor) -> Tensor:
        """Downsample ``scores``."""
        reduced = F.gelu(self.norm(self.reduce(scores)))
        # The mixing is 1x1 in one dimension, because XNNPACK keeps the result of a 2-d convolution channels-last and
        # then takes the softmax that follows over the heads.
        mixed: Tensor = self.mix(reduced.flatten(2)).unflatten(2, reduced.shape[2:])
        return mixed


class Block(nn.Module):
    """Pre-norm attention and MLP, each with its residual, with the scores passing through."""

    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map tokens (B, N, C) to the same shape."""
        attended, scores = self.attn(self.norm1(x), scores)
        x = x + attended
        return x + self.mlp(self.norm2(x)), scores


class Stage(nn.Module):
    """Patch embedding, positions and blocks at one stride."""

    def __init__(
        self, embed: PatchEmbed, dim: int, grid: Size, depth: int, attention: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.grid = grid
        self.patch_embed = embed
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, grid[0] * grid[1], dim), std=0.02))
        self.blocks = nn.ModuleList([Block(dim, attention(index)) for index in range(depth)])

    def forward(self, x: Tensor, scores: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Return the stage's map (B, C, H, W) and the scores after every block."""
        x, _ = self.patch_embed(x)
        x = x + self.pos_embed
        history = []
        for block in self.blocks:
            x, scores = block(x, scores)
            history.append(scores)
        return to_map(x, self.grid), history


def diagonality_loss(scores: Iterable[Tensor]) -> Tensor:
    """Return the diagonality-preserving loss of transformed score maps (B, heads, N, N), before softmax.

    Per map, with P = softmax(A): the mean over all entries of |P_ij - P_ji|, plus the mean over rows of
    ((N - 1) P_ii - sum of P_ij over j != i), divided by N. The paper prints it on A itself, where the second term has
    no lower bound; as printed, minimising it makes the diagonal smaller.
    """
    losses = []
    for score in scores:
        p = score.softmax(dim=-1)
        tokens = p.shape[-1]
        diagonal = p.diagonal(dim1=-2, dim2=-1)
        asymmetry = (p - p.transpose(-2, -1)).abs().mean()
        balance = ((tokens - 1) * diagonal - (p.sum(dim=-1) - diagonal)).mean() / tokens
        losses.append(asymmetry + balance)
    return torch.stack(losses).sum()


class LaViT(nn.Module):
    """LaViT over (B, 3, H, W) of the size that it was built for, a multiple of 32.

    Stages 1-2 use reduced attention; stages 3-4 vanilla attention in their first layer and less-attention in the
    others. The forward pass returns logits (B, num_classes), or with ``features_only`` the four stage maps, strides 4
    to 32. In training with a ``diagonality_weight`` above zero it returns logits and that weight times the
    diagonality-preserving loss.
    """

    def __init__(
        self,
        dims: Sequence[int],
        heads: Sequence[int],
        depths: Sequence[int],
        *,
        img_size: int | Size = 224,
        num_classes: int = 1000,
        diagonality_weight: float = 0.0,
        features_only: bool = False,
    ) -> None:
        super().__init__()
        self.img_size = as_pair(img_size)
        token_grid(img_size, STRIDES[-1])
        self.diagonality_weight = diagonality_weight
        self.features_only = features_only

        def attention(stage: int, block: int) -> nn.Module:
            dim, grid = dims[stage], grids[stage]
            if stage < 2:
                return ReducedAttention(dim, heads[stage], grid, (8, 4)[stage])
            if block == 0:
                return VanillaAttention(dim, heads[stage])
            return LessAttention(dim, heads[stage], grid[0] * grid[1])

        grids = [token_grid(img_size, stride) for stride in STRIDES]
        stages = []
        for index, (dim, depth, grid) in enumerate(zip(dims, depths, grids, strict=True)):
            embed = PatchEmbed(dims[index - 1], dim, 3, 2, padding=1) if index else PatchEmbed(3, dim, 7, 4, padding=3)
            stages.append(Stage(embed, dim, grid, depth, partial(attention, index)))
        self.stages = nn.ModuleList(stages)
        self.score_residual = ScoreResidual(heads[2], heads[3])
        if not features_only:
            self.norm = nn.LayerNorm(dims[-1])
            self.head = nn.Linear(dims[-1], num_classes)
        self.feature_channels = tuple(dims)
        self.feature_strides = STRIDES
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor] | list[Tensor]:
        """Return logits, logits and the weighted loss (training), or the stage maps (``features_only``)."""
        check_built_size(x, self.img_size)
        maps: list[Tensor] = []
        transformed: list[Tensor] = []
        scores: Tensor | None = None
        for index, stage in enumerate(self.stages):
            x, history = stage(x, scores)
            maps.append(x)
            transformed += history[1:] if index >= 2 else []
            scores = self.score_residual(history[-1]) if index == 2 else None
        if self.features_only:
            return maps
        logits: Tensor = self.head(self.norm(x.flatten(2).transpose(1, 2)).mean(dim=1))
        if self.training and self.diagonality_weight:
            return logits, self.diagonality_weight * diagonality_loss(transformed)
        return logits


def adapt_state_dict(model: LaViT, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Resize every table of a checkpoint that was trained at another input size: positions, Theta and Psi.

    A square number of tokens is read as a square grid, also where the model's own grid is another of that count
    (:func:`~mobilevit_tools.models.tables.reads_as_square`).
    """
    adapted = dict(state_dict)
    grids = [token_grid(model.img_size, stride) for stride in STRIDES]
    for index, stage in enumerate(model.stages):
        for name, own in stage.state_dict(prefix=f"stages.{index}.").items():
            table = adapted.get(name)
            resize = next((_RESIZERS[end] for end in _RESIZERS if name.endswith(end)), None)
            if table is None or resize is None:
                continue
            if table.shape != own.shape or reads_as_square(grids[index]):
                adapted[name] = resize(table, grids[index])
    return adapted


_RESIZERS: Mapping[str, Callable[[Tensor, Size], Tensor]] = {
    "pos_embed": resize_positions,
    "theta.weight": resize_score_transform,
    "theta.bias": resize_score_bias,
    "psi.weight": resize_score_transform,
    "psi.bias": resize_score_bias,
}


lavit_t = partial(LaViT, (64, 128, 320, 448), (1, 2, 5, 7), (2, 2, 2, 2))
lavit_s = partial(LaViT, (72, 144, 288, 576), (1, 2, 4, 9), (2, 4, 6, 3))
lavit_b = partial(LaViT, (96, 192, 384, 768), (1, 3, 6, 12), (3, 4, 6, 3))
