"""Weights that are tied to the input size, resized when a checkpoint was trained at another one."""

from __future__ import annotations

from math import isqrt

from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.layers import Size


def square_grid(tokens: int, name: str) -> Size:
    """Return the grid of a table that says only how many tokens it was trained for.

    Raises:
        BadInputError: The count is no square, so that the grid cannot be known.
    """
    side = isqrt(tokens)
    if side * side != tokens:
        raise BadInputError(
            f"The checkpoint's {name} holds {tokens} tokens, which is not a square grid, so it cannot be resized.",
            hint="Build the model with the input size that the checkpoint was trained at.",
            code="table_size",
        )
    return side, side


def reads_as_square(grid: Size) -> bool:
    """Tell whether a table for ``grid`` looks like one of a square grid: 7x28 tokens are as many as 14x14.

    A table says its count and no shape, and a square count is always read as a square grid, so such a table is resized
    although the counts agree. A checkpoint that was trained at that very size cannot be told apart: it is resized, too.
    """
    height, width = grid
    return height != width and isqrt(height * width) ** 2 == height * width


def resize_positions(table: Tensor, grid: Size, *, prefix: int = 0, name: str = "position table") -> Tensor:
    """Resize learned positions (1, prefix + N, C) to another token grid, bicubically.

    Args:
        table: One vector per token in raster order, behind ``prefix`` vectors that belong to no place.
        grid: The grid wanted, height and width.
        prefix: How many leading vectors are kept as they are (a class token's).
        name: What the table is called in errors.
    """
    kept, places = table[:, :prefix], table[:, prefix:]
    source = square_grid(places.shape[1], name)
    channels = places.shape[2]
    as_map = places.transpose(1, 2).reshape(1, channels, *source).float()
    resized = F.interpolate(as_map, size=grid, mode="bicubic", align_corners=False, antialias=True)
    return _cat(kept, resized.flatten(2).transpose(1, 2).to(table.dtype))


def resize_score_transform(weight: Tensor, grid: Size, *, name: str = "score transform") -> Tensor:
    """Resize a linear map between token grids, (N, N) seen as (h, w, h', w'), bilinearly in both pairs.

    Every row, summed over its inputs, keeps the value that interpolation gives that sum, so that a constant score
    map is transformed as before.
    """
    source = square_grid(weight.shape[0], name)
    tokens = grid[0] * grid[1]
    row_sums = weight.float().sum(dim=1).reshape(1, 1, *source)
    wanted = _bilinear(row_sums, grid).reshape(tokens, 1)
    by_input = _bilinear(weight.float().reshape(1, -1, *source), grid).reshape(-1, tokens)
    by_output = _bilinear(by_input.T.reshape(1, tokens, *source), grid).reshape(tokens, tokens).T
    # Values spread over more (or fewer) inputs, so a row's sum grows by about the ratio of the counts; the rest of
    # the difference is taken evenly, since a sum near zero cannot be rescaled.
    scaled = by_output * (weight.shape[0] / tokens)
    scaled = scaled + (wanted - scaled.sum(dim=1, keepdim=True)) / tokens
    return scaled.to(weight.dtype)


def resize_score_bias(bias: Tensor, grid: Size, *, name: str = "score transform") -> Tensor:
    """Resize the bias (N,) of a linear map between token grids, bilinearly."""
    as_map = bias.float().reshape(1, 1, *square_grid(bias.shape[0], name))
    return _bilinear(as_map, grid).reshape(-1).to(bias.dtype)


def _bilinear(maps: Tensor, grid: Size) -> Tensor:
    return F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)


def _cat(kept: Tensor, places: Tensor) -> Tensor:
    import torch

    return torch.cat([kept, places], dim=1)
