"""Resizes that converters read another way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F


def is_ratio(sides: Sequence[int], sizes: Sequence[int], factors: Sequence[float] | None) -> bool:
    """Tell whether factors are the ratios of the sizes, so that a resize to the sizes maps pixels as they do."""
    return factors is None or all(
        size == side * factor for side, size, factor in zip(sides, sizes, factors, strict=True)
    )


def bilinear_to_size(
    x: Tensor, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Sequence[float] | None = None
) -> Any:
    """Write an antialiased bilinear resize by a factor as one to a size."""
    return _to_size(x, "bilinear", align_corners, scale_factors)


def bicubic_to_size(
    x: Tensor, output_size: Sequence[int] | None, align_corners: bool, scale_factors: Sequence[float] | None = None
) -> Any:
    """Write an antialiased bicubic resize by a factor as one to a size."""
    return _to_size(x, "bicubic", align_corners, scale_factors)


def _to_size(x: Tensor, mode: str, align_corners: bool, factors: Sequence[float] | None) -> Any:
    if not factors:
        return NotImplemented
    sizes = [int(side * factor) for side, factor in zip(x.shape[2:], factors, strict=True)]
    if not is_ratio(x.shape[2:], sizes, factors):
        return NotImplemented
    return F.interpolate(x, size=sizes, mode=mode, align_corners=align_corners, antialias=True)
