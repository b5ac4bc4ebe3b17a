"""Splits, chunks and picks as slices of their source.

``x.split([a, b], dim)`` is ``x[:a], x[a:a + b]`` along ``dim``, and ``x[:, i]`` is ``x[:, i:i + 1]`` less its axis. A
slice of a slice is taken from the source, so that a nested split copies nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mobilevit_tools.rewrites.functions import Function, Replacement, Run


def _split(run: Run, x: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    dim, total = dim % x.dim(), x.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        sizes = [min(size, total - start) for start in range(0, total, size)]
    else:
        sizes = list(split_size_or_sections)
    source, offset = x, 0
    origin = run.origin(x)
    if isinstance(origin, tuple) and origin[1] == dim:
        source, _, offset = origin
    parts = []
    for size in sizes:
        part = source.narrow(dim, offset, size)
        run.remember(part, (source, dim, offset))
        parts.append(part)
        offset += size
    return tuple(parts)


def _chunk(run: Run, x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    return _split(run, x, -(-x.shape[dim] // chunks), dim)


def _unbind(run: Run, x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    sides = [side for axis, side in enumerate(x.shape) if axis != dim % x.dim()]
    return tuple(part.reshape(sides) for part in _split(run, x, 1, dim))


def _pick(_: Run, x: Tensor, index: object) -> object:
    if not isinstance(index, tuple) or not all(type(part) is int or _is_whole(part) for part in index):
        return NotImplemented
    picked = [dim for dim, part in enumerate(index) if type(part) is int]
    if not picked:
        return NotImplemented
    result = x
    for dim in picked:
        result = result.narrow(dim, index[dim] % x.shape[dim], 1)
    return result.reshape([side for dim, side in enumerate(x.shape) if dim not in picked])


def _is_whole(part: object) -> bool:
    return isinstance(part, slice) and part == slice(None)


REPLACEMENTS: Mapping[Function, Replacement] = {
    torch.split: _split,
    Tensor.split: _split,
    torch.unbind: _unbind,
    Tensor.unbind: _unbind,
    torch.chunk: _chunk,
    Tensor.chunk: _chunk,
    Tensor.__getitem__: _pick,
}
