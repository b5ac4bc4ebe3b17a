"""ClusTR: attention from every token to clusters of tokens at two scales (arXiv 2208.13138).

The module names follow the authors' state dict, so their checkpoints load strictly. Where the authors break the ties
of the clustering with random numbers, ties are broken by token index here, so that a model is a function of its input
and exports as one static graph: comparisons, top-k, lookups and matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.models.layers import PatchEmbed, Size, attend, initialise, merge_heads, split_heads, to_map

NEIGHBOURS = 5
CANDIDATES = 16
# Rounding differs between runtimes, and must not decide between the equal tokens of an even area. A token whose parent
# (squared, per channel) is nearer than SAME is no peak of its own. It is far above what rounding moves a distance by,
# some 1e-7, and far below the distances of tokens that differ, about 1.
SAME = 1e-4
# Centres whose squared distance is less are one point, as in an even area, where rounding must not choose among them.
# Peaks are at least SAME apart, so these are centres that no peak was left for.
ONE_POINT = 2e-6
EPS = 1e-6


def squared_distances(x: Tensor) -> Tensor:
    """Return the squared Euclidean distances, over C, between all tokens: (B, N, C) to (B, N, N)."""
    # Distances do not change when the mean is taken away, but cancel less.
    x = x - x.mean(dim=1, keepdim=True)
    norms = x.square().mean(dim=-1, keepdim=True)
    return (norms + norms.transpose(1, 2) - (2 / x.shape[-1] * x) @ x.transpose(1, 2)).clamp(min=0)


def earlier(tokens: int, device: torch.device) -> Tensor:
    """Return whether token j has a lower index than token i, as a mask (i, j)."""
    index = torch.arange(tokens, device=device)
    return index < index.unsqueeze(1)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return the rows of ``x`` (B, N, C) that ``index`` (B, n) names, (B, n, C)."""
    batch, tokens, _ = x.shape
    # A range with a step, because PT2E makes the number of a product of integers a float.
    first = torch.arange(0, batch * tokens, tokens, device=x.device).unsqueeze(1)
    return F.embedding(index + first, x.flatten(0, 1))  # whole rows: much faster than a gather of single values


def precedes(values: Tensor, before: Tensor) -> Tensor:
    """Return whether token j comes before token i in descending order of ``values`` (B, N), as a mask (B, i, j).

    Of equal values, that of the lower index comes first; ``before`` is what :func:`earlier` returns.
    """
    own, other = values.unsqueeze(2), values.unsqueeze(1)
    return torch.logical_or(other > own, torch.logical_and(other == own, before))


def densities(x: Tensor, distances: Tensor) -> Tensor:
    """Return exp of minus the mean squared distance to the k nearest tokens, itself included, (B, N).

    Args:
        x: Tokens (B, N, C).
        distances: Their squared distances (B, N, N).
    """
    # In even areas of an image the densest tokens differ by less than what the product in ``distances`` rounds away,
    # so the distances of the nearest candidates are taken again from differences.
    batch, tokens, channels = x.shape
    candidates = min(CANDIDATES, tokens)
    index = distances.topk(candidates, dim=-1, largest=False).indices.flatten(1)
    near = take(x, index).reshape(batch, tokens, candidates, channels)
    exact = (near - x.unsqueeze(2)).square().mean(dim=-1)
    neighbours = exact.topk(min(NEIGHBOURS, tokens), dim=-1, largest=False).values
    return (neighbours.sum(dim=-1) * (-1 / neighbours.shape[-1])).exp()


class Clustering(nn.Module):
    """Density-peak clustering of tokens with k nearest neighbours, for several cluster counts at once."""

    def parents(self, density: Tensor, distances: Tensor) -> Tensor:
        """Return the least distance to a token of higher density; for the densest the largest of the image.

        Args:
            density: What :func:`densities` returns, (B, N).
            distances: Squared distances (B, N, N).

        Returns:
            Squared distances (B, N).
        """
        largest = distances.amax(dim=(1, 2), keepdim=True)
        before = earlier(distances.shape[1], distances.device)
        return torch.where(precedes(density, before), distances, largest).amin(dim=-1)

    def distances_to(self, centres: Tensor, distances: Tensor) -> Tensor:
        """Return the squared distances of all tokens to ``centres`` (B, n), (B, n, N); -1 from a centre to itself.

        Centres that are one point are exactly as far from any other token as the first of them. ``distances`` are
        squared, (B, N, N).
        """
        itself = centres.unsqueeze(-1) == torch.arange(distances.shape[1], device=centres.device)
        to_centre = take(distances, centres)
        return torch.where(itself, -1.0, take(to_centre, self.first_of_point(centres, to_centre)))

    def first_of_point(self, centres: Tensor, to_centre: Tensor) -> Tensor:
        """Return the position (B, n) of the first centre that is the same point as each centre, itself if no other is.

        ``to_centre`` are the squared distances of all tokens to ``centres`` (B, n), (B, n, N).
        """
        between = take(to_centre.transpose(1, 2), centres)
        count = between.shape[1]
        position = torch.arange(count, device=between.device).unsqueeze(1).expand_as(between)
        return torch.where(between >= ONE_POINT, count - 1, position).amin(dim=1)

    def nearest(self, to_centre: Tensor) -> Tensor:
        """Return the position of every token's nearest centre, (B, 1, N), of those that are exactly as near the first.

        ``to_centre`` is what :meth:`distances_to` returns, so that a centre joins itself.
        """
        count = to_centre.shape[1]
        # Expanded here, because coremltools does not broadcast where one side is a number.
        position = torch.arange(count, device=to_centre.device).unsqueeze(1).expand_as(to_centre)
        is_farther = to_centre > to_centre.amin(dim=1, keepdim=True)
        return torch.where(is_farther, count, position).amin(dim=1, keepdim=True)

    def members(self, joined: Tensor, count: int, like: Tensor) -> Tensor:
        """Return 1 where a token belongs to a cluster and 0 elsewhere, (B, n, N), in the element type of ``like``.

        ``joined`` is what :meth:`nearest` returns for ``count`` centres.
        """
        return (joined == torch.arange(count, device=joined.device).unsqueeze(1)).to(like.dtype)

    def forward(self, x: Tensor, counts: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Cluster tokens ``x`` (B, N, C) by ascending ``counts``.

        Returns:
            For each n of ``counts``, the tokens that are centres (B, n) and the cluster of every token (B, 1, N).
        """
        distances = squared_distances(x)
        density = densities(x, distances)
        parent = self.parents(density, distances)
        # Those that are no peak come after all peaks, in the order of their indices.
        last = -torch.arange(x.shape[1], device=x.device).to(x.dtype).expand_as(parent)
        score = torch.where(parent < SAME, last, parent.sqrt() * density)
        # From the best on: the centres of a smaller count are the first of a larger one.
        centres = score.topk(counts[-1], dim=-1).indices
        to_centre = self.distances_to(centres, distances)
        coarser = [(centres[:, :count], self.nearest(to_centre[:, :count])) for count in counts[:-1]]
        return [*coarser, (centres, self.nearest(to_centre))]


def merge(x: Tensor, weight: Tensor, members: Tensor) -> Tensor:
    """Merge each cluster to the weighted mean of its tokens.

    Args:
        x: Tokens (B, N, C).
        weight: Their positive weights (B, N, 1).
        members: What :meth:`Clustering.members` returns, (B, n, N).

    Returns:
        Merged tokens (B, n, C).
    """
    weighted = members * weight.transpose(1, 2)
    # A mean in place of the sum of weights: as a product with a constant it does not leave XNNPACK.
    share = weighted.mean(dim=-1, keepdim=True) + EPS / x.shape[1]
    return weighted @ x / (x.shape[1] * share)


class ClusterAttention(nn.Module):
    """Attention to the clusters of two scales, N // r^2 and four times as many (paper, section 3)."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.reduction = reduction
        self.clustering = Clustering()
        self.q = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.weight_layer = nn.Linear(dim, 1)
        self.kv1 = nn.Linear(dim, 2 * dim)
        self.kv2 = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over ``x`` (B, N, C)."""
        tokens = x.shape[1]
        coarse = tokens // self.reduction**2
        # With as many clusters as tokens, which stage 3 has at its finer scale, every token is a cluster of its own.
        counts = [count for count in (coarse, 4 * coarse) if count < tokens]
        weight = self.weight_layer(x).exp()
        merged = [
            merge(x, weight, self.clustering.members(joined, count, x))
            for count, (_, joined) in zip(counts, self.clustering(x, counts), strict=True)
        ]
        if len(merged) == 1:
            merged.append(weight * x / (weight + EPS))
        q = split_heads(self.q(x), self.heads) * self.scale
        attended = [
            attend(q, *(split_heads(part, self.heads) for part in kv(clusters).chunk(2, dim=-1)))
            for kv, clusters in zip((self.kv1, self.kv2), merged, strict=True)
        ]
        out: Tensor = self.proj(merge_heads(attended[0] + attended[1]))
        return out


class RegularAttention(nn.Module):
    """Ordinary attention, for the last stage."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.q = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over ``x`` (B, N, C)."""
        k, v = (split_heads(part, self.heads) for part in self.kv(x).chunk(2, dim=-1))
        q = split_heads(self.q(x), self.heads) * self.scale
        out: Tensor = self.proj(merge_heads(attend(q, k, v)))
        return out


class DepthwiseConv(nn.Module):
    """A depthwise 3x3 convolution over raster-order tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, grid: Size) -> Tensor:
        """Convolve tokens ``x`` (B, H*W, C)."""
        out: Tensor = self.dwconv(to_map(x, grid)).flatten(2).transpose(1, 2)
        return out


class ConvMlp(nn.Module):
    """Linear, plus a depthwise convolution of itself, GELU, Linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, grid: Size) -> Tensor:
        """Map tokens (B, H*W, C) to the same shape."""
        hidden = self.fc1(x)
        out: Tensor = self.fc2(F.gelu(hidden + self.dwconv(hidden, grid)))
        return out


class Block(nn.Module):
    """Pre-norm attention and MLP, each with its residual; without ``reduction`` the attention is the regular one."""

    def __init__(self, dim: int, heads: int, ratio: int, reduction: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = ClusterAttention(dim, heads, reduction) if reduction else RegularAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = ConvMlp(dim, ratio * dim)

    def forward(self, x: Tensor, grid: Size) -> Tensor:
        """Map tokens (B, H*W, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x), grid)
        return out


class ClusTR(nn.Module):
    """ClusTR over (B, 3, H, W), H and W multiples of 32.

    The forward pass returns logits (B, num_classes), or with ``features_only`` the four normed stage maps, strides 4
    to 32.
    """

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        *,
        num_classes: int = 1000,
        features_only: bool = False,
    ) -> None:
        super().__init__()
        self.features_only = features_only
        ratios, reductions = (8, 8, 4, 4), (8, 4, 2, None)
        for index, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            embed = PatchEmbed(dims[index - 1], dim, 3, 2, padding=1) if index else PatchEmbed(3, dim, 7, 4, padding=3)
            blocks = [Block(dim, heads[index], ratios[index], reductions[index]) for _ in range(depth)]
            self.add_module(f"patch_embed{index + 1}", embed)
            self.add_module(f"block{index + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{index + 1}", nn.LayerNorm(dim, eps=EPS))
        if not features_only:
            self.head = nn.Linear(dims[-1], num_classes)
        self.feature_channels = tuple(dims)
        self.feature_strides = (4, 8, 16, 32)
        self.apply(initialise)

    def decisions(self) -> ClusterTrace:
        """Return a module that gives what the model decides on the way beside its logits."""
        return ClusterTrace(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits, or the stage maps (``features_only``)."""
        maps = []
        for index in range(1, 5):
            tokens, grid = self.get_submodule(f"patch_embed{index}")(x)
            for block in self.get_submodule(f"block{index}").children():
                tokens = block(tokens, grid)
            tokens = self.get_submodule(f"norm{index}")(tokens)
            x = to_map(tokens, grid)
            maps.append(x)
        if self.features_only:
            return maps
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits


class ClusterTrace(nn.Module):
    """Returns a ClusTR's logits and then, per clustering, its centres and clusters: what a runtime decided.

    Exported beside the model, it tells how many tokens another runtime assigns differently.
    """

    def __init__(self, model: ClusTR) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        """Run the model on ``x`` (B, 3, H, W)."""
        found: list[Tensor] = []

        def record(_module: nn.Module, _inputs: object, clusters: list[tuple[Tensor, Tensor]]) -> None:
            for centres, joined in clusters:
                if centres.shape[1] < joined.shape[2]:  # where every token is a centre, nothing is decided
                    found.extend((centres, joined))

        handles = [part.register_forward_hook(record) for part in self.modules() if isinstance(part, Clustering)]
        try:
            logits = self.model(x)
        finally:
            for handle in handles:
                handle.remove()
        return [logits, *found]

    @staticmethod
    def count_changed(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> int:
        """Count the tokens that two runs assign to different centres, over all clusterings."""
        changed = 0
        for index in range(1, len(ours), 2):
            a, b = (torch.gather(run[index], 1, run[index + 1].squeeze(1).long()) for run in (ours, theirs))
            changed += int((a != b).sum())
        return changed


clustr_t = partial(ClusTR, (64, 128, 256, 512), (1, 2, 6, 1), (1, 2, 4, 8))
clustr_s = partial(ClusTR, (64, 128, 256, 512), (3, 5, 13, 2), (1, 2, 4, 8))
clustr_b = partial(ClusTR, (64, 128, 320, 512), (3, 5, 18, 3), (1, 2, 5, 8))
