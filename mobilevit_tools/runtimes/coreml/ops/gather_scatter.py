"""Values picked and placed by index. Negative indices count from the end, unless the program asks for a check."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError

from .registry import operator

_MODES = {"add": "sum", "sub": "sum", "mul": "prod", "div": "prod", "max": "amax", "min": "amin"}


def _checked(indices: Tensor, sizes: Tensor, validate: bool) -> Tensor:
    """Indices as non-negative int64, inside ``sizes``.

    Raises:
        BadInputError: An index is out of bounds. Core ML leaves the outcome open there, so there is nothing to model.
    """
    indices = indices.long()
    if bool((indices >= sizes).any() or (indices < (0 if validate else -sizes)).any()):
        raise BadInputError("A gather or scatter operator has an index out of bounds.")
    return torch.where(indices < 0, indices + sizes, indices)


def _size(x: Tensor, axis: int) -> Tensor:
    return torch.tensor(x.shape[axis])


@operator("gather")
def _gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    axis = axis % x.ndim
    where = _checked(indices, _size(x, axis), validate_indices)
    if not batch_dims:
        shape = (*x.shape[:axis], *where.shape, *x.shape[axis + 1 :])
        return x.index_select(axis, where.reshape(-1)).reshape(shape)
    batch = x.shape[:batch_dims]
    parts = zip(x.reshape(-1, *x.shape[batch_dims:]), where.reshape(-1, *where.shape[batch_dims:]), strict=True)
    rows = [_gather(part, index, axis - batch_dims) for part, index in parts]
    return torch.stack(rows).reshape(*batch, *rows[0].shape)


@operator("gather_along_axis")
def _gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    return x.gather(axis, _checked(indices, _size(x, axis), validate_indices))


@operator("gather_nd")
def _gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    depth, batch = indices.shape[-1], x.shape[:batch_dims]
    sizes = x.shape[batch_dims : batch_dims + depth]
    flat = _flat_indices(indices, sizes, validate_indices)
    rows = x.reshape(math.prod(batch), math.prod(sizes), -1)
    per_batch = flat.reshape(math.prod(batch), -1)
    picked = rows.gather(1, per_batch[..., None].expand(-1, -1, rows.shape[2]))
    return picked.reshape(*indices.shape[:-1], *x.shape[batch_dims + depth :])


def _flat_indices(indices: Tensor, sizes: torch.Size, validate: bool) -> Tensor:
    where = _checked(indices, torch.tensor(sizes), validate)
    steps = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    return (where * torch.tensor(steps)).sum(-1)


def _place(data: Tensor, where: Tensor, updates: Tensor, axis: int, mode: str) -> Tensor:
    """Combine ``updates`` with ``data`` along ``axis``; ``where`` has the shape of ``updates``."""
    updates = updates.to(data.dtype)
    if mode == "update":
        return data.scatter(axis, where, updates)
    if mode not in _MODES:
        raise BadInputError(f"A scatter operator has the unknown mode {mode!r}.")
    if mode == "div":
        divisors = torch.ones_like(data).scatter_reduce(axis, where, updates, "prod")
        return (data / divisors).to(data.dtype)
    return data.scatter_reduce(axis, where, -updates if mode == "sub" else updates, _MODES[mode])


@operator("scatter")
def _scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    axis = axis % data.ndim
    where = _checked(indices, _size(data, axis), validate_indices).reshape(-1)
    updates = updates.reshape(*data.shape[:axis], len(where), *data.shape[axis + 1 :])
    where = where.reshape([-1 if i == axis else 1 for i in range(data.ndim)]).expand(updates.shape)
    return _place(data, where, updates, axis, mode)


@operator("scatter_along_axis")
def _scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    return _place(data, _checked(indices, _size(data, axis), validate_indices), updates, axis, mode)


@operator("scatter_nd")
def _scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    depth = indices.shape[-1]
    flat = _flat_indices(indices, data.shape[:depth], validate_indices).reshape(-1)
    width = math.prod(data.shape[depth:])
    rows, changes = data.reshape(-1, width), updates.reshape(len(flat), width)
    return _place(rows, flat[:, None].expand(changes.shape), changes, 0, mode).reshape(data.shape)
