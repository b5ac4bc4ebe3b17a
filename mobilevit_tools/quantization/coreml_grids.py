"""Core ML: which grids weights of few bits lie on, and how coremltools is made to keep what lies on one already."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights, palettize_weights
from torch import Tensor

from mobilevit_tools.quantization.error_feedback import on_grids
from mobilevit_tools.quantization.grids import Grid, LinearGrid, PaletteGrid, Rounder
from mobilevit_tools.quantization.sensitivity import RANKING_PHOTOS, rank_operators

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from mobilevit_tools.quantization.calibration import Calibration

PALETTE_BITS = {"palette8": 8, "palette6": 6, "palette4": 4}
INT4_BLOCK = 32
SMALLEST_WEIGHT = 512
"""Weights with fewer elements are not stored as indices: the table of values would be as large."""
FINEST = 8
"""Bits of the palettes of a few weights that coarse ones would do most harm to."""
FINER_SHARE = 0.05
"""Of all weights, the share that has these at most: half a byte each, and most of what 4 bits lose."""
PHOTOS = 64
"""Photos by which weights are rounded."""
OTHERS = 8
"""Flat colours and noise among them, in equal parts: weights are rounded for every input, and not for photos alone."""
_NEAR = 1e-2
"""How far from a whole number a multiple of a scale may be that was rounded to half precision."""


def grid_of(weight: Tensor, precision: str, *, finer: bool = False) -> Grid | None:
    """Return the grid of a weight (rows, channels, ...); None for one that stays real.

    Args:
        weight: The weight.
        precision: ``int4-weight`` or a palette.
        finer: Whether it is one of those that get the finest palette.
    """
    if weight.numel() <= SMALLEST_WEIGHT:
        return None
    if precision == "int4-weight":
        grid: Grid = LinearGrid(4, INT4_BLOCK)
    else:
        grid = PaletteGrid(FINEST if finer else PALETTE_BITS[precision])
    return grid if grid.fits(weight) else None


def finer_weights(module: nn.Module, calibration: Calibration, precision: str, batch: int) -> frozenset[str]:
    """Return the names of the weights that get a palette of 256 values in place of fewer.

    They are those whose coarse palette alone moves the model's output on photos most, for their size; of all weights
    they have a share of ``FINER_SHARE`` at most.

    Args:
        module: In evaluation mode, in float32.
        calibration: The photos.
        precision: ``int4-weight``, which has no such, or a palette.
        batch: Images per call.
    """
    if PALETTE_BITS.get(precision, FINEST) == FINEST:
        return frozenset()

    def coarse(weight: Tensor) -> Tensor:
        grid, rows = grid_of(weight, precision), weight.flatten(1)
        return weight if grid is None else grid.rounder(weight, torch.ones_like(rows)).whole(rows).view_as(weight)

    photos = list(islice(calibration.batches(batch), -(-RANKING_PHOTOS // batch)))
    ranked = rank_operators(module, photos, precision, coarse)
    sizes = {each.weight: module.get_parameter(each.weight).numel() for each in ranked}
    left, chosen = FINER_SHARE * sum(sizes.values()), set()
    for each in sorted(ranked, key=lambda each: -each.error / sizes[each.weight]):
        if SMALLEST_WEIGHT < sizes[each.weight] <= left:
            chosen.add(each.weight)
            left -= sizes[each.weight]
    return frozenset(chosen)


def round_by_photos(
    module: nn.Module, calibration: Calibration, precision: str, kept: Collection[str], batch: int
) -> dict[str, Rounder]:
    """Round the weights of ``module`` in place so that its layers' results on photos change least.

    Returns what rounds to the grid of each, by its name.

    Args:
        module: In evaluation mode, in float32.
        calibration: The photos.
        precision: ``int4-weight`` or a palette.
        kept: Names of weights to leave.
        batch: Images per call.
    """
    finer = finer_weights(module, calibration, precision, batch)
    return on_grids(
        module,
        rounding_inputs(calibration, batch),
        lambda name, weight: None if name in kept else grid_of(weight, precision, finer=name in finer),
    )


def rounding_inputs(calibration: Calibration, batch: int) -> list[Tensor]:
    """Return photos, flat colours and noise, normalised, in batches (batch, 3, H, W)."""
    photos = [torch.from_numpy(each) for each in islice(calibration.batches(batch), -(-PHOTOS // batch))]
    height, width = calibration.preprocessing.input_size
    generator = np.random.default_rng(1)  # others than those that an artifact is verified with
    flat = generator.integers(0, 256, (OTHERS // 2, 3, 1, 1)).repeat(height, axis=2).repeat(width, axis=3)
    noise = generator.integers(0, 256, (OTHERS // 2, 3, height, width))
    others = torch.from_numpy(calibration.preprocessing.normalize(np.concatenate([flat, noise]).astype(np.uint8)))
    filled = others[torch.arange(-(-len(others) // batch) * batch) % len(others)]
    return [*photos, *torch.split(filled, batch)]


class KeepingScales(linear_quantize_weights):  # type: ignore[misc]
    """Quantizes weights to multiples of a scale, and those that are such multiples already with their own scale."""

    @classmethod
    def blockwise_compress_by_dtype(
        cls, original_data: NDArray[Any], dtype: Any, mode: str, block_sizes: list[int]
    ) -> Any:
        """Quantize in blocks; see the base class."""
        found = super().blockwise_compress_by_dtype(original_data, dtype, mode, block_sizes)
        if found is None or found.nbits > 4 or mode != "LINEAR_SYMMETRIC":
            return found
        scale = own_scales(original_data, block_sizes, top=2 ** (int(found.nbits) - 1) - 1)
        if scale is None:
            return found
        scale = scale.astype(found.scale.dtype).reshape(found.scale.shape)
        spread = scale
        for axis, size in enumerate(original_data.shape):
            spread = spread.repeat(size // spread.shape[axis], axis=axis)
        return found._replace(data=np.round(original_data / spread).astype(found.data.dtype), scale=scale)


def own_scales(weight: NDArray[Any], block_sizes: Sequence[int], top: int) -> NDArray[np.float32] | None:
    """Return the scale of each block whose values are multiples of it; None where some block has none.

    Args:
        weight: Any number of axes.
        block_sizes: The length of a block along each; 0 for all of it.
        top: The largest multiple.
    """
    lengths = [length or size for length, size in zip(block_sizes, weight.shape, strict=True)]
    counts = [size // length for size, length in zip(weight.shape, lengths, strict=True)]
    split = [part for pair in zip(counts, lengths, strict=True) for part in pair]
    axes = [*range(0, 2 * weight.ndim, 2), *range(1, 2 * weight.ndim, 2)]
    blocks = weight.astype(np.float32).reshape(split).transpose(axes).reshape(*counts, -1)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    scales = np.full_like(largest, np.nan)
    for multiple in range(top, 0, -1):
        scale = np.where(largest > 0, largest / multiple, 1.0)
        multiples = blocks / scale
        fits = (np.abs(multiples - np.round(multiples)) < _NEAR).all(axis=-1, keepdims=True)
        scales = np.where(fits, scale, scales)
    return None if np.isnan(scales).any() else scales[..., 0]


def own_palette(bits: int) -> Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[np.uint8]]]:
    """Return what finds the palette of a weight: its own values where they are few enough, or else k-means'."""

    def find(weight: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        values, indices = np.unique(weight, return_inverse=True)
        size = next((2**each for each in (bits, FINEST) if len(values) <= 2**each), None)
        if size is None:
            found: tuple[NDArray[Any], NDArray[np.uint8]] = palettize_weights._get_lut_and_indices(
                weight, "KMEANS", bits, None
            )
            return found
        palette = np.zeros(size, weight.dtype)
        palette[: len(values)] = values
        return palette, indices.astype(np.uint8).ravel()

    return find
