"""Means in the forms that XNNPACK takes over: pooling that keeps its axes, or a product with a constant.

The mean over the two axes of a map is a global average pooling; over the last axis it is a product with a vector of
1/n, and over the tokens of (B, N, C) the product of such a vector with each image's tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.rewrites.functions import Function, Replacement, Run


def _mean(
    run: Run,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
) -> object:
    if x.dim() == 0 or type(x.shape[0]) is not int:  # a free batch has no constant of its size
        return NotImplemented
    dims = sorted(axis % x.dim() for axis in ([dim] if isinstance(dim, int) else dim or []))
    if x.dim() == 4 and dims == [2, 3] and not keepdim:
        result = x.mean(dim=(2, 3), keepdim=True).flatten(1)
    elif dims == [x.dim() - 1]:
        result = F.linear(x, run.filled((1, x.shape[-1]), 1 / x.shape[-1], x))
        result = result if keepdim else result.flatten(-2)
    elif x.dim() == 3 and dims == [1]:
        result = torch.bmm(run.filled((x.shape[0], 1, x.shape[1]), 1 / x.shape[1], x), x)
        result = result if keepdim else result.flatten(1)
    else:
        return NotImplemented
    return result


REPLACEMENTS: Mapping[Function, Replacement] = {Tensor.mean: _mean, torch.mean: _mean}
