"""Depthwise kernels of many taps as a sum of dilated ones that XNNPACK has microkernels for.

XNNPACK has depthwise microkernels for 3, 4, 9 and 25 taps (a smaller kernel is padded up) and runs anything larger as
one tiny matrix product a channel, four times slower for 7x7. A convolution is a sum over taps, so its taps may be
shared out among several convolutions of the same input. The parts used here are lattices: rows and columns each in
arithmetic progression and symmetric about the centre, which a dilated convolution with symmetric padding computes.
7x7, for one, becomes rows -2, 0, 2 by all columns (21 taps), rows -3, -1, 1, 3 by columns -2..2 (20 taps) and the same
rows by columns -3, 3 (8 taps).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from torch import Tensor, nn

from mobilevit_tools.rewrites.batch_norm_backward import frozen
from mobilevit_tools.rewrites.dataflow import Dataflow

MICROKERNEL_COST = {3: 1.0, 4: 1.7, 9: 3.4, 25: 7.0}
"""Relative time of XNNPACK's float32 depthwise microkernels by taps, measured on 8 to 64 channels."""


class Progression(NamedTuple):
    """Offsets -reach, -reach + step, ..., reach."""

    reach: int
    step: int

    @property
    def taps(self) -> int:
        """How many offsets there are."""
        return 2 * self.reach // self.step + 1

    def indices(self, size: int) -> slice:
        """Return where the offsets are in a kernel of ``size`` taps."""
        centre = size // 2
        return slice(centre - self.reach, centre + self.reach + 1, self.step)


Lattice = tuple[Progression, Progression]


@cache
def plan(height: int, width: int) -> tuple[Lattice, ...]:
    """Return the cheapest partition of a kernel of odd sides into lattices that have a microkernel.

    Of all ways to partition the rows, and for each of their parts the columns, into symmetric progressions.
    """
    candidates = []
    for rows in _partitions(height):
        lattices: list[Lattice] = []
        for row in rows:
            columns = min(_partitions(width), key=lambda parts: sum(_cost(row.taps * column.taps) for column in parts))
            lattices += [(row, column) for column in columns]
        candidates.append(tuple(lattices))
    return min(candidates, key=lambda lattices: sum(_cost(row.taps * column.taps) for row, column in lattices))


class DepthwiseLattices(nn.Module):
    """The sum of dilated depthwise convolutions that a depthwise convolution of odd sides equals."""

    def __init__(self, conv: nn.Conv2d, lattices: tuple[Lattice, ...]) -> None:
        super().__init__()
        height, width = conv.kernel_size
        self.parts = nn.ModuleList()
        for index, (row, column) in enumerate(lattices):
            part = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                (row.taps, column.taps),
                stride=(conv.stride[0], conv.stride[1]),
                padding=(row.reach, column.reach),
                dilation=(row.step, column.step),
                groups=conv.groups,
                bias=conv.bias is not None and index == 0,
            )
            part.weight = frozen(conv.weight[:, :, row.indices(height), column.indices(width)].contiguous())
            if part.bias is not None:
                part.bias = conv.bias
            self.parts.append(part)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (B, C, H, W)."""
        first, *others = self.parts
        out: Tensor = first(x)
        for part in others:
            out = out + part(x)
        return out


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Replace every depthwise convolution for which several lattices are cheaper than one kernel."""
    places = 0
    for name, layer in flow.layers(module, nn.Conv2d):
        if not _is_plain_depthwise(layer):
            continue
        lattices = plan(*layer.kernel_size)
        if len(lattices) > 1:
            module.set_submodule(name, DepthwiseLattices(layer, lattices))
            places += 1
    return module, places


def _is_plain_depthwise(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is depthwise with odd sides, dilation 1 and the zero padding that keeps the size."""
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and all(side % 2 for side in conv.kernel_size)
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.padding == tuple(side // 2 for side in conv.kernel_size)
    )


def _cost(taps: int) -> float:
    """Return the relative time of a kernel of ``taps``; infinite where XNNPACK has no microkernel."""
    return next((cost for tile, cost in MICROKERNEL_COST.items() if taps <= tile), float("inf"))


@cache
def _partitions(size: int) -> tuple[tuple[Progression, ...], ...]:
    """Return all partitions of the offsets of an odd ``size`` into symmetric progressions."""
    return tuple(_extend(frozenset(range(-(size // 2), size // 2 + 1))))


def _extend(offsets: frozenset[int]) -> Iterator[tuple[Progression, ...]]:
    if not offsets:
        yield ()
        return
    reach = max(offsets)
    steps = [step for step in range(1, 2 * reach + 1) if 2 * reach % step == 0] or [1]
    for step in steps:
        taken = frozenset(range(-reach, reach + 1, step))
        if taken <= offsets:
            for rest in _extend(offsets - taken):
                yield (Progression(reach, step), *rest)
