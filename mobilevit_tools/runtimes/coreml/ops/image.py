"""Images resized and resampled."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilevit_tools.errors import BadInputError

from .registry import Ints, Scale, bounded, operator

ONE = Scale(1.0)


def sample_points(source: float, target: int, mode: str) -> Tensor:
    """Where each of ``target`` samples lies on the grid 0 .. ``source`` - 1, in float64, clamped to it.

    Args:
        source: Size before; that of a box need be neither whole nor, where the box is turned over, positive.
        target: Size after.
        mode: A sampling mode of ``resize_bilinear``.

    Raises:
        BadInputError: The mode is unknown.
    """
    i = torch.arange(target, dtype=torch.float64)
    last = source - 1
    if mode == "ALIGN_CORNERS" and target == 1:
        points = i + last / 2
    elif mode in {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"}:
        points = i * (last / max(target - 1, 1))
    elif mode == "DEFAULT":
        points = i * (source / target)
    elif mode == "UNALIGN_CORNERS":
        points = (i + 0.5) * (source / target) - 0.5
    elif mode == "OFFSET_CORNERS":
        points = (i + 0.5) * (last / target)
    else:
        raise BadInputError(f"A resize operator has the unknown sampling mode {mode!r}.")
    return points.clamp(min(last, 0), max(last, 0))


def _lerp(x: Tensor, points: Tensor, axis: int) -> Tensor:
    low = points.floor()
    weight = (points - low).float().reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    first = x.index_select(axis, low.long())
    second = x.index_select(axis, (low.long() + 1).clamp(max=x.shape[axis] - 1))
    return torch.lerp(first, second, weight)


def _linear(x: Tensor, sizes: Ints, mode: str) -> Tensor:
    bounded(*x.shape[: x.ndim - len(sizes)], *sizes)
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        if size != x.shape[axis] or mode == "OFFSET_CORNERS":
            x = _lerp(x, sample_points(x.shape[axis], size, mode), axis)
    return x


def _nearest(x: Tensor, sizes: Ints, *, centers: bool) -> Tensor:
    """Pick the sample at each target's centre, or at its start; the two differ where a size is no multiple."""
    bounded(*x.shape[: x.ndim - len(sizes)], *sizes)
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        x = x.index_select(axis, (2 * torch.arange(size) + centers) * x.shape[axis] // (2 * size))
    return x


def _scaled(x: Tensor, height: float, width: float) -> Ints:
    """Sizes times factors, rounded down; NumPy multiplies in the factors' own type, so that 10 times 0.7 is 7."""
    return math.floor(x.shape[-2] * height), math.floor(x.shape[-1] * width)


@operator("upsample_nearest_neighbor")
def _upsample_nearest(x: Tensor, scale_factor_height: Scale = ONE, scale_factor_width: Scale = ONE) -> Tensor:
    return _nearest(x, _scaled(x, scale_factor_height, scale_factor_width), centers=False)


@operator("resize_nearest_neighbor")
def _resize_nearest(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    return _nearest(x, (target_size_height, target_size_width), centers=True)


@operator("upsample_bilinear")
def _upsample_bilinear(
    x: Tensor,
    scale_factor_height: Scale = ONE,
    scale_factor_width: Scale = ONE,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    centers = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and centers:
        raise BadInputError("An upsample_bilinear operator both aligns corners and centers half pixels.")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if centers else "DEFAULT"
    return _linear(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@operator("resize_bilinear")
def _resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _linear(x, (target_size_height, target_size_width), sampling_mode)


@operator("resize")
def _resize(
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Sizes for the last ``resized_dims`` dimensions; ``0`` keeps one."""
    kept = x.shape[x.ndim - resized_dims :]
    sizes = tuple(size or old for size, old in zip(shape[len(shape) - resized_dims :], kept, strict=True))
    if interpolation_mode == "LINEAR":
        return _linear(x.float(), sizes, sampling_mode)
    if interpolation_mode != "NEAREST_NEIGHBOR" or sampling_mode != "DEFAULT":
        raise BadInputError(f"A resize operator mixes {interpolation_mode!r} with {sampling_mode!r}.")
    return _nearest(x, sizes, centers=True)


@operator("pixels")
def _pixels(x: Tensor) -> Tensor:
    """What values are once they are pixels: whole numbers from 0 to 255."""
    return x.round().clamp(0, 255)


_RESAMPLE_PADDING = {
    "constant": ("zeros", False),
    "border": ("border", False),
    "reflection": ("reflection", True),
    "symmetric": ("reflection", False),
}
"""How torch names a padding, and whether it aligns corners there: it mirrors about centres then, else about edges."""


def _pixels_of(coordinates: Tensor, extent: Tensor, mode: str, align_corners: bool) -> Tensor:
    """Coordinates as positions in pixels, 0 at the centre of the first one."""
    if mode == "unnormalized":
        return coordinates
    if mode == "normalized_zero_to_one":
        coordinates = 2 * coordinates - 1
    elif mode != "normalized_minus_one_to_one":
        raise BadInputError(f"A resample operator has the unknown coordinates {mode!r}.")
    return (coordinates + 1) / 2 * (extent - 1) if align_corners else ((coordinates + 1) * extent - 1) / 2


@operator("resample")
def _resample(
    x: Tensor,
    coordinates: Tensor,
    *,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """Sample (N, C, H, W) at coordinates (N, H', W', 2), given as (x, y)."""
    if padding_mode not in _RESAMPLE_PADDING:
        raise BadInputError(f"A resample operator has the unknown padding_mode {padding_mode!r}.")
    padding, aligned = _RESAMPLE_PADDING[padding_mode]
    extent = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float64)
    points = _pixels_of(coordinates.double(), extent, coordinates_mode, align_corners)
    grid = 2 * points / (extent - 1).clamp(min=1) - 1 if aligned else (2 * points + 1) / extent - 1
    sampled = F.grid_sample(x.double(), grid, sampling_mode, padding, aligned)
    if padding_mode == "constant" and padding_value:
        inside = F.grid_sample(torch.ones_like(x[:, :1], dtype=torch.float64), grid, sampling_mode, padding, aligned)
        sampled = sampled + padding_value * (1 - inside)
    return sampled.float()


@operator("affine")
def _affine(
    x: Tensor,
    transform_matrix: Tensor,
    *,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    matrices = transform_matrix.reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
    bounded(*x.shape[:2], output_height, output_width)
    grid = F.affine_grid(matrices, [*x.shape[:2], output_height, output_width], align_corners)
    return _resample(
        x,
        grid,
        sampling_mode=sampling_mode,
        padding_mode=padding_mode,
        padding_value=padding_value,
        coordinates_mode=coordinates_mode,
        align_corners=align_corners,
    )
