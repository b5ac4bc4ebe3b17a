"""Rows that are put at places of an axis, as selections from what was there and what comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def placed_rows(x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Any:
    """Write ``x[:, places] = values``, with places along one axis, as a selection along it.

    Where the places are constant, so is what is selected, and it is stored.
    """
    given = [axis for axis, each in enumerate(indices) if each is not None]
    if accumulate or len(given) != 1:
        return NotImplemented
    (axis,) = given
    places = indices[axis]
    if places is None or places.dim() != 1 or places.dtype not in (torch.int32, torch.int64):
        return NotImplemented
    side, count = x.shape[axis], places.shape[0]
    rows = values.expand([*x.shape[:axis], count, *x.shape[axis + 1 :]])
    here = torch.where(places < 0, places + side, places).unsqueeze(1) == torch.arange(side)  # (count, side)
    numbered = torch.where(here, torch.arange(side, side + count).unsqueeze(1), -1).amax(0)  # the last of equals
    selected = torch.where(numbered < 0, torch.arange(side), numbered)
    return torch.index_select(torch.cat([x, rows], axis), axis, selected)
