"""Expands that change nothing left out, squeezes and unsqueezes as reshapes.

An expand to the shape that a tensor has already is the tensor itself; a batch of one makes every class token's such.
Dropping or adding axes of one is a reshape, which XNNPACK takes over wherever the axis is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mobilevit_tools.rewrites.functions import Function, Replacement, Run


def _expand(_: Run, x: Tensor, *sizes: int) -> object:
    same = len(sizes) == x.dim() and all(size in (-1, side) for size, side in zip(sizes, x.shape, strict=True))
    return x if same else NotImplemented


def _squeeze(_: Run, x: Tensor, dim: int | Sequence[int] | None = None) -> object:
    if x.dim() == 0:
        return NotImplemented
    named = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    dropped = [axis % x.dim() for axis in named]
    return x.reshape([side for axis, side in enumerate(x.shape) if axis not in dropped or side != 1])


def _unsqueeze(_: Run, x: Tensor, dim: int) -> Tensor:
    place = dim % (x.dim() + 1)
    return x.reshape([*x.shape[:place], 1, *x.shape[place:]])


REPLACEMENTS: Mapping[Function, Replacement] = {
    Tensor.expand: _expand,
    Tensor.squeeze: _squeeze,
    torch.squeeze: _squeeze,
    Tensor.unsqueeze: _unsqueeze,
    torch.unsqueeze: _unsqueeze,
}
