"""ClusTR's comparisons as arithmetic, which XNNPACK takes over where comparisons and selections leave it.

With ``step(t) = clamp(t, 0, 1)`` and a power of two S that makes every difference of two unequal values large,

- of two tokens i and j, ``step(S (d_i - d_j) + (j + 1) - i)`` is 0 where j is denser, or as dense and earlier, and else
  1: the first term decides alone unless it vanishes, and the indices are exact. In place of a selection a distance that
  does not count is moved out of reach, by clamping to a FAR multiple.
- ``step(1 - |a - b|)`` of two whole numbers is 1 where they are equal and else 0.
- ``step(S (t - b))`` is 1 where t > b and else 0.

Multiplying by S and comparing whole numbers is exact, so that the decisions are those of the comparisons, in float32
and in float64. Half precision has no room for S.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilevit_tools.models.clustr import ONE_POINT, Clustering, take
from mobilevit_tools.rewrites.dataflow import Dataflow

S = 2.0**120
"""Densities are at most 1, and differ by 1e-18 or more."""
FAR = 2.0**30
"""Farther than tokens are, and little enough that FAR times their number is far below S times a difference."""


class ArithmeticClustering(Clustering):
    """The same clusters without comparisons; what :meth:`nearest` returns are whole numbers in floating point."""

    def parents(self, density: Tensor, distances: Tensor) -> Tensor:
        """Return the least distance to a token of higher density; see the base class."""
        index = whole_numbers(distances.shape[1], distances)
        difference = S * density.unsqueeze(2) - S * density.unsqueeze(1)
        out_of_reach = (difference + FAR * (index + 1) - (FAR * index).unsqueeze(1)).clamp(0, FAR)
        return torch.minimum((distances + out_of_reach).amin(dim=-1), distances.amax(dim=(1, 2)).unsqueeze(1))

    def distances_to(self, centres: Tensor, distances: Tensor) -> Tensor:
        """Return the squared distances of all tokens to ``centres``; see the base class."""
        itself = equal(centres.unsqueeze(-1).to(distances.dtype), whole_numbers(distances.shape[1], distances))
        to_centre = take(distances, centres)
        to_centre = self.firsts(to_centre, itself) @ to_centre
        return to_centre - itself * (to_centre + 1)

    def firsts(self, to_centre: Tensor, itself: Tensor) -> Tensor:
        """Return 1 where centre j is the first that is the same point as centre i and elsewhere 0, (B, i, j).

        A product with such a matrix picks rows, exactly, and does not leave XNNPACK as a lookup does. ``to_centre`` are
        the squared distances of all tokens to the centres, (B, n, N), and ``itself`` is 1 from each centre to itself.
        """
        between = to_centre @ itself.transpose(1, 2)
        index = whole_numbers(between.shape[1], between)
        other = 1 - equal(index.unsqueeze(1), index)
        before = (index - index.unsqueeze(1)).clamp(0, 1)
        same = 1 - other * (S * (between - ONE_POINT) + 1).clamp(0, 1)
        return same * (1 - same @ before).clamp(0, 1)

    def nearest(self, to_centre: Tensor) -> Tensor:
        """Return the position of every token's nearest centre; see the base class."""
        count = to_centre.shape[1]
        is_farther = (S * (to_centre - to_centre.amin(dim=1, keepdim=True))).clamp(0, 1)
        return (count * is_farther + whole_numbers(count, to_centre).unsqueeze(1)).amin(dim=1, keepdim=True)

    def members(self, joined: Tensor, count: int, like: Tensor) -> Tensor:
        """Return 1 where a token belongs to a cluster and 0 elsewhere; see the base class."""
        return equal(joined, whole_numbers(count, like).unsqueeze(1))


def whole_numbers(count: int, like: Tensor) -> Tensor:
    """Return 0, 1, ... (count) in the element type of ``like``."""
    return torch.arange(count, dtype=like.dtype, device=like.device)


def equal(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 where two whole numbers are equal and 0 elsewhere."""
    return (1 - (a - b).abs()).clamp(0, 1)


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Replace every clustering of ClusTR."""
    clusterings = flow.layers(module, Clustering)
    for name, _ in clusterings:
        module.set_submodule(name, ArithmeticClustering())
    return module, len(clusterings)
