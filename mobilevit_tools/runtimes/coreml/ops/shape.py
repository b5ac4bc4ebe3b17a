"""Rearrangements that keep every element: shapes, axes, joins, splits, and blocks moved between dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilevit_tools.errors import BadInputError

from .registry import Bools, Ints, Tensors, operator


@operator("reshape")
def _reshape(x: Tensor, shape: Ints) -> Tensor:
    """``0`` keeps the size of the input's dimension, counted from the last one; 1 where the input has none left."""
    offset = x.ndim - len(shape)
    sizes = [size or (x.shape[i + offset] if i + offset >= 0 else 1) for i, size in enumerate(shape)]
    return x.reshape(sizes)


@operator("reshape_like")
def _reshape_like(x: Tensor, ref_tensors: Tensors, begins: Ints, ends: Ints, end_masks: Bools) -> Tensor:
    sizes: list[int] = []
    for reference, begin, end, masked in zip(ref_tensors, begins, ends, end_masks, strict=True):
        sizes.extend(reference.shape[begin : None if masked else end])
    return x.reshape(sizes)


@operator("flatten2d")
def _flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("expand_dims")
def _expand_dims(x: Tensor, axes: Ints) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("squeeze")
def _squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    if axes is None:
        return x.squeeze()
    if any(x.shape[axis] != 1 for axis in axes):
        raise BadInputError(f"A squeeze operator drops axes {axes} of a value of shape {tuple(x.shape)}.")
    return x.squeeze(axes)


@operator("transpose")
def _transpose(x: Tensor, perm: Ints) -> Tensor:
    return x.permute(perm)


@operator("concat")
def _concat(values: Tensors, axis: int, interleave: bool = False) -> Tensor:
    if not interleave:
        return torch.cat(_alike(values), axis) if values[0].ndim else torch.stack(values)
    axis = axis % values[0].ndim
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def _alike(values: Tensors) -> Tensors:
    """The values laid out as convolutions like it where one of them is: torch takes the other layout if they differ."""
    layout = torch.channels_last
    laid_out = [value.ndim == 4 and value.is_contiguous(memory_format=layout) for value in values]
    if not any(laid_out) or all(laid_out):
        return values
    return tuple(value.contiguous(memory_format=layout) if value.is_contiguous() else value for value in values)


@operator("stack")
def _stack(values: Tensors, axis: int) -> Tensor:
    return torch.stack(values, axis)


@operator("split")
def _split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> Tensors:
    if split_sizes:
        return torch.split_with_sizes(x, split_sizes, axis)
    if not num_splits or x.shape[axis] % num_splits:
        raise BadInputError(f"A split operator makes {num_splits} equal parts of {x.shape[axis]} elements.")
    return torch.tensor_split(x, num_splits, axis)


@operator("reverse")
def _reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.flip(tuple(range(x.ndim)) if axes is None else axes)


@operator("reverse_sequence")
def _reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    seq_axis, batch_axis = seq_axis % x.ndim, batch_axis % x.ndim
    shape = [size if axis == seq_axis else 1 for axis, size in enumerate(x.shape)]
    position = torch.arange(x.shape[seq_axis]).reshape(shape)
    length = lengths.long().reshape([-1 if axis == batch_axis else 1 for axis in range(x.ndim)])
    source = torch.where(position < length, length - 1 - position, position)
    return x.gather(seq_axis, source.expand(x.shape))


@operator("pixel_shuffle")
def _pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


@operator("pixel_unshuffle")
def _pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


@operator("depth_to_space")
def _depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """Unlike ``pixel_shuffle``, the position within a block is the outer part of the channel."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, block_size, block_size, c // block_size**2, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, h * block_size, w * block_size)


@operator("space_to_depth")
def _space_to_depth(x: Tensor, block_size: int) -> Tensor:
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // block_size, block_size, w // block_size, block_size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, h // block_size, w // block_size)


@operator("space_to_batch")
def _space_to_batch(x: Tensor, block_shape: Ints, paddings: Ints) -> Tensor:
    top, bottom, left, right = paddings
    x = F.pad(x, (left, right, top, bottom))
    (n, c, h, w), (bh, bw) = x.shape, block_shape
    blocks = x.reshape(n, c, h // bh, bh, w // bw, bw).permute(3, 5, 0, 1, 2, 4)
    return blocks.reshape(n * bh * bw, c, h // bh, w // bw)


@operator("batch_to_space")
def _batch_to_space(x: Tensor, block_shape: Ints, crops: Ints) -> Tensor:
    (n, c, h, w), (bh, bw) = x.shape, block_shape
    top, bottom, left, right = crops
    blocks = x.reshape(bh, bw, n // (bh * bw), c, h, w).permute(2, 3, 4, 0, 5, 1)
    image = blocks.reshape(n // (bh * bw), c, h * bh, w * bw)
    return image[:, :, top : h * bh - bottom, left : w * bw - right]
