"""Resizing as products with matrices, and as selections, both of which the operator itself makes.

Resizing is linear and separable: what it does to an axis is what it does to an identity matrix. The matrices read
nothing, and :func:`~mobilevit_tools.forms.constants.fold_constants` makes constants of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mobilevit_tools.forms.products import on_both_axes
from mobilevit_tools.forms.views import has_sizes, repeated

Resize: TypeAlias = Callable[..., Tensor]


def as_products(resize: Any) -> Resize:
    """Return the form of a linear way to resize the last two axes, such as ``aten.upsample_bicubic2d.vec``."""

    def form(
        x: Tensor,
        output_size: Sequence[int] | None,
        align_corners: bool = False,
        scale_factors: Sequence[float] | None = None,
    ) -> Tensor:
        for axis in (0, 1):
            side = x.shape[-2:][axis]
            size, factors = _along(axis, output_size, scale_factors, other=side)
            # A map of one column would do, but torch's antialiasing takes its values for others.
            matrix = resize(torch.eye(side, dtype=x.dtype)[None, None], size, align_corners, factors)[0, 0]
            x = torch.matmul(matrix, x) if axis == 0 else torch.matmul(x, matrix)
        return x

    return form


def uneven_as_products(resize: Any) -> Resize:
    """Return :func:`as_products` for factors that do not give whole sizes; a given size stays as it is."""
    form = as_products(resize)

    def uneven(
        x: Tensor,
        output_size: Sequence[int] | None,
        align_corners: bool = False,
        scale_factors: Sequence[float] | None = None,
    ) -> Any:
        if align_corners or scale_factors is None or _whole(x, scale_factors):
            return NotImplemented
        return form(x, output_size, align_corners, scale_factors)

    return uneven


def as_selections(resize: Any, *, only_uneven: bool) -> Resize:
    """Return the form of a way to resize the last two axes that takes the value of one pixel for each.

    Args:
        resize: The operator, such as ``aten.upsample_nearest2d.vec``.
        only_uneven: Leave sizes that are a whole multiple of the old as they are.
    """

    def form(x: Tensor, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None = None) -> Any:
        if only_uneven and _multiplies(x, output_size, scale_factors):
            return NotImplemented
        for axis in (0, 1):
            side = x.shape[-2:][axis]
            places = torch.arange(side, dtype=torch.float32).reshape(1, 1, *((side, 1) if axis == 0 else (1, side)))
            size, factors = _along(axis, output_size, scale_factors, other=1)
            x = torch.index_select(x, axis - 2, resize(places, size, factors).flatten().to(torch.int64))
        return x

    return form


def as_copies(resize: Any) -> Resize:
    """Return the form of :func:`as_selections`' operators with copies of pixels, or with products for uneven sizes.

    The copies are of vectors of channels: delegates keep maps channels-last in memory.
    """

    def form(x: Tensor, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None = None) -> Any:
        if not has_sizes(x) or not x.is_floating_point():
            return NotImplemented
        batch, channels, height, width = x.shape
        if not _multiplies(x, output_size, scale_factors):
            matrices = []
            for axis, side in ((0, height), (1, width)):
                size, factors = _along(axis, output_size, scale_factors, other=side)
                matrices.append(resize(torch.eye(side, dtype=x.dtype)[None, None], size, factors)[0, 0])
            return on_both_axes(x, matrices[0], matrices[1].mT)
        new = resize(torch.zeros(1, 1, height, width), output_size, scale_factors).shape[-2:]
        pixels = x.permute(0, 2, 3, 1).reshape(batch, height, 1, width, 1, channels)
        copies = repeated(pixels, [batch, height, new[0] // height, width, new[1] // width, channels])
        return copies.reshape(batch, *new, channels).permute(0, 3, 1, 2)

    return form


def _along(
    axis: int, size: Sequence[int] | None, factors: Sequence[float] | None, *, other: int
) -> tuple[list[int] | None, list[float] | None]:
    """Return the size and the factors of resizing one axis and leaving the other, of ``other`` values, as it is."""
    return (
        None if size is None else [size[0], other] if axis == 0 else [other, size[1]],
        None if factors is None else [factors[0], 1.0] if axis == 0 else [1.0, factors[1]],
    )


def _whole(x: Tensor, factors: Sequence[float]) -> bool:
    return all((side * factor).is_integer() for side, factor in zip(x.shape[-2:], factors, strict=True))


def _multiplies(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None) -> bool:
    if size is not None:
        return all(new % side == 0 for side, new in zip(x.shape[-2:], size, strict=True))
    return factors is not None and all(float(factor).is_integer() for factor in factors)
