"""Orders in memory, which change no value: a converter has its own, and some fail on those that a model asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_PLAIN = (None, torch.contiguous_format, torch.preserve_format)


def copy(x: Tensor, *, memory_format: torch.memory_format | None = None) -> Any:
    """Write a copy into another order as a plain copy."""
    return NotImplemented if memory_format in _PLAIN else x.clone(memory_format=torch.contiguous_format)


def convert(
    x: Tensor,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: torch.memory_format | None = None,
    **_: object,
) -> Any:
    """Write a conversion into another order, and perhaps type, as one of the type alone."""
    if memory_format in _PLAIN:
        return NotImplemented
    return x.to(dtype or x.dtype, copy=True).contiguous()
