"""Padding in slices that are put side by side, for what a converter's own padding does not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def sliced_padding(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Write padding that is circular, negative, or takes values of the map over more than two axes, in slices.

    Padding with negative widths crops; circular padding repeats the other end, reflection turns what is beside the
    edge around, replication repeats the edge.
    """
    many = mode != "constant" and len(pad) > 4
    if mode != "circular" and min(pad) >= 0 and not many:
        return NotImplemented
    if mode == "constant":
        return _with_constant(x, pad, 0.0 if value is None else value)
    for index in range(len(pad) // 2):
        x = _EXTENSIONS[mode](x, -1 - index, pad[2 * index], pad[2 * index + 1])
    return x


def _with_constant(x: Tensor, pad: Sequence[int], value: float) -> Tensor:
    for index in range(len(pad) // 2):
        axis, before, after = -1 - index, min(pad[2 * index], 0), min(pad[2 * index + 1], 0)
        if before or after:
            x = x.narrow(axis, -before, x.shape[axis] + before + after)
    grown = [max(each, 0) for each in pad]
    return F.pad(x, grown, value=value) if any(grown) else x


def _circular(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    side = x.shape[axis]
    x = x.narrow(axis, max(-before, 0), side - max(-before, 0) - max(-after, 0)) if min(before, after) < 0 else x
    side = x.shape[axis]
    parts = [x]
    if before > 0:
        parts.insert(0, x.narrow(axis, side - before, before))
    if after > 0:
        parts.append(x.narrow(axis, 0, after))
    return torch.cat(parts, axis) if len(parts) > 1 else x


def _reflected(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    side = x.shape[axis]
    start, stop = max(-before, 0), side - max(-after, 0)
    parts = [x.narrow(axis, start, stop - start)]
    if before > 0:
        parts.insert(0, x.narrow(axis, 1, before).flip(axis))
    if after > 0:
        parts.append(x.narrow(axis, side - 1 - after, after).flip(axis))
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


def _replicated(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    side = x.shape[axis]
    start, stop = max(-before, 0), side - max(-after, 0)
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, side - 1, 1)
    parts = [first] * max(before, 0) + [x.narrow(axis, start, stop - start)] + [last] * max(after, 0)
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


_EXTENSIONS = {"circular": _circular, "reflect": _reflected, "replicate": _replicated}
