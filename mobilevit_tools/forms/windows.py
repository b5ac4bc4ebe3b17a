"""Windows of a map as columns, and columns as a map, in reshapes or convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def columns(
    x: Tensor, kernel_size: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> Any:
    """Write the windows of a map (B, C, H, W) as columns (B, C kh kw, L), as ``F.unfold`` does.

    Windows side by side are a change of axes; others are picked by a convolution whose kernels have a single one.
    """
    (down, right), sides = kernel_size, x.shape[-2:]
    if x.dim() != 4 or not all(type(side) is int for side in sides) or type(x.shape[1]) is not int:
        return NotImplemented
    if _side_by_side(kernel_size, dilation, padding, stride) and sides[0] % down == 0 and sides[1] % right == 0:
        parts = x.reshape(-1, x.shape[1], sides[0] // down, down, sides[1] // right, right)
        return parts.permute(0, 1, 3, 5, 2, 4).reshape(x.shape[0], x.shape[1] * down * right, -1)
    picking = torch.eye(down * right, dtype=x.dtype).reshape(down * right, 1, down, right)
    kernels = picking.repeat(x.shape[1], 1, 1, 1)
    windows = F.conv2d(x, kernels, None, list(stride), list(padding), list(dilation), x.shape[1])
    return windows.flatten(2)


def map_of_columns(
    x: Tensor,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Any:
    """Write columns (B, C kh kw, L) of windows side by side as the map (B, C, H, W), as ``F.fold`` does."""
    (down, right), (height, width) = kernel_size, output_size
    if (
        x.dim() != 3
        or not _side_by_side(kernel_size, dilation, padding, stride)
        or height % down
        or width % right
        or type(x.shape[1]) is not int
    ):
        return NotImplemented
    parts = x.reshape(-1, x.shape[1] // (down * right), down, right, height // down, width // right)
    return parts.permute(0, 1, 4, 2, 5, 3).reshape(x.shape[0], -1, height, width)


def _side_by_side(
    kernel_size: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> bool:
    return [*stride] == [*kernel_size] and not any(padding) and set(dilation) == {1}
