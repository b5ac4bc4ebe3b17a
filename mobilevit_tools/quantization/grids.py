"""The values that a weight of few bits may have: multiples of a scale for a block of it, or a palette for some rows.

A weight whose values all lie on such a grid is stored as it is: rounding it once more changes nothing. So whoever
chooses the values with more than the weight in view only has to leave them in the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_LLOYD_STEPS = 20
_BINS = 256
_CLIPS = 17
"""How many scales are tried for a block, from the one that clips nothing down to ``_LEAST_CLIP`` of it."""
_LEAST_CLIP = 0.6


class Rounder(Protocol):
    """Rounds weights (rows, columns) to a grid that was made for one of them."""

    def column(self, values: Tensor, index: int) -> Tensor:
        """Round the values (rows,) of a column."""

    def whole(self, weight: Tensor) -> Tensor:
        """Round all values (rows, columns)."""


class Grid(Protocol):
    """Which values weights of a kind may have."""

    def fits(self, weight: Tensor) -> bool:
        """Tell whether a weight (rows, channels, ...) can be divided as the grid divides."""

    def rounder(self, weight: Tensor, importance: Tensor) -> Rounder:
        """Return the grid for a weight.

        Args:
            weight: (rows, channels, ...).
            importance: (rows, columns): how much the square error of each value matters.
        """


@dataclass(frozen=True)
class LinearGrid:
    """Whole multiples of a scale, as many below zero as above.

    Attributes:
        bits: Bits of a value.
        block: Input channels that share a scale with their kernels; 0 for one scale a row.
    """

    bits: int
    block: int = 0

    def fits(self, weight: Tensor) -> bool:
        """Tell whether the input channels are a multiple of the block."""
        return not self.block or weight.shape[1] % self.block == 0

    def rounder(self, weight: Tensor, importance: Tensor) -> Rounder:
        """Return the scales that lose least; the largest values of a block may be clipped for that."""
        top = 2 ** (self.bits - 1) - 1
        rows = weight.shape[0]
        blocks = weight.reshape(rows, weight.shape[1] // self.block if self.block else 1, -1)
        matters = importance.reshape(blocks.shape)
        largest = blocks.abs().amax(dim=2, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny) / top
        best, least = largest, torch.full_like(largest, torch.inf)
        for share in torch.linspace(1.0, _LEAST_CLIP, _CLIPS).tolist():
            scale = largest * share
            lost = (_multiples(blocks, scale, top) - blocks).square().mul(matters).sum(dim=2, keepdim=True)
            best, least = torch.where(lost < least, scale, best), torch.minimum(lost, least)
        return _Linear(best.expand_as(blocks).reshape(rows, -1), top)


@dataclass(frozen=True)
class _Linear:
    scales: Tensor
    top: int

    def column(self, values: Tensor, index: int) -> Tensor:
        return _multiples(values, self.scales[:, index].to(values.dtype), self.top)

    def whole(self, weight: Tensor) -> Tensor:
        return _multiples(weight, self.scales.to(weight.dtype), self.top)


@dataclass(frozen=True)
class PaletteGrid:
    """A palette of values for every group of rows.

    Attributes:
        bits: Bits of an index into it.
        group: Rows that share a palette; 0 for a single one.
    """

    bits: int
    group: int = 0

    def fits(self, weight: Tensor) -> bool:
        """Tell whether the rows are a multiple of the group."""
        return not self.group or weight.shape[0] % self.group == 0

    def rounder(self, weight: Tensor, importance: Tensor) -> Rounder:
        """Return the palettes of weighted k-means."""
        rows = weight.flatten(1)
        group = self.group or len(rows)
        palettes = torch.stack(
            [
                weighted_palette(rows[start : start + group], importance[start : start + group], 2**self.bits)
                for start in range(0, len(rows), group)
            ]
        )
        return _Palette(palettes.repeat_interleave(group, dim=0))


@dataclass(frozen=True)
class _Palette:
    values: Tensor
    """(rows, colours), ascending."""

    def column(self, values: Tensor, index: int) -> Tensor:
        del index
        return self.whole(values.unsqueeze(1)).squeeze(1)

    def whole(self, weight: Tensor) -> Tensor:
        palette = self.values.to(weight.dtype)
        middles = ((palette[:, 1:] + palette[:, :-1]) / 2).contiguous()
        return palette.gather(1, torch.searchsorted(middles, weight.contiguous()))


def weighted_palette(values: Tensor, importance: Tensor, colours: int) -> Tensor:
    """Return the palette (colours,), ascending, that k-means in one dimension finds for weighted values.

    The start is as dense as the cube root of what matters, as the best palette of many values is; Lloyd's iterations
    follow. In one dimension a cluster is a run of the sorted values, so that sums of runs are all they need.
    """
    flat, order = values.flatten().double().sort()
    weights = importance.expand_as(values).flatten().double()[order].clamp_min(torch.finfo(torch.float64).tiny)
    zero = flat.new_zeros(1)
    mass, moment = (torch.cat([zero, each.cumsum(0)]) for each in (weights, weights * flat))
    width = ((flat[-1] - flat[0]) / _BINS).clamp_min(torch.finfo(flat.dtype).tiny)
    bins = ((flat - flat[0]) / width).long().clamp(0, _BINS - 1)
    density = torch.zeros(_BINS, dtype=flat.dtype).index_add_(0, bins, weights).pow(1 / 3).cumsum(0)
    places = torch.linspace(0, 1, 2 * colours + 1, dtype=flat.dtype)[1::2]
    palette = flat[0] + width * (torch.searchsorted(density, places * density[-1]) + 0.5)
    for _ in range(_LLOYD_STEPS):
        inner = torch.searchsorted(flat, (palette[1:] + palette[:-1]) / 2)
        edges = torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(flat))])
        share = mass[edges[1:]] - mass[edges[:-1]]
        middle = (moment[edges[1:]] - moment[edges[:-1]]) / share
        palette = torch.where(share > 0, middle, palette).sort().values
    return palette.to(values.dtype)


def _multiples(values: Tensor, scale: Tensor, top: int) -> Tensor:
    return (values / scale).round().clamp(-top, top) * scale
