"""Products of stacked matrices with a single batch dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.forms.views import repeated


def stacked(left: Tensor, right: Tensor) -> Any:
    """Write a product of (..., n, k) and (..., k, m) as one of (B, n, k) and (B, k, m).

    A product with a single matrix on the right stays: it may be a layer's weights.
    """
    if min(left.dim(), right.dim()) < 2 or right.dim() == 2 or not left.is_floating_point():
        return NotImplemented
    lead = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])  # type: ignore[no-untyped-call]
    stacks = []
    for each in (left, right):
        sides = [*[1] * (len(lead) + 2 - each.dim()), *each.shape]
        whole = repeated(each.reshape(sides), [*lead, *sides[-2:]])
        stacks.append(whole.reshape(math.prod(lead), *sides[-2:]))
    return torch.bmm(*stacks).reshape(*lead, left.shape[-2], right.shape[-1])


def with_a_vector(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """Write a linear layer whose weight is a vector, and whose output has no axis for it, as a product of matrices."""
    if weight.dim() != 1:
        return NotImplemented
    found = torch.matmul(x, weight[:, None]).reshape(x.shape[:-1])
    return found if bias is None else found + bias


def on_both_axes(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``x`` (..., h, w) with its columns multiplied by ``rows`` (i, h), and its rows by ``columns`` (j, w).

    Each has one matrix on the right, which delegates take over as a layer's weights.
    """
    return F.linear(F.linear(x.mT, rows).mT, columns)


def spelt_out(equation: str, tensors: Sequence[Tensor], *, path: Sequence[int] | None = None) -> Any:
    """Write an einsum of two tensors as a product of stacked matrices between changes of order."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    written = terms.split(",")
    repeated_letter = any(len(set(each)) < len(each) for each in (*written, result))
    if not arrow or len(written) != 2 or "." in equation or repeated_letter:
        return NotImplemented
    left, right = written
    if not set(result) <= {*left, *right} or (set(left) ^ set(right)) - set(result):
        return NotImplemented
    batch = [each for each in left if each in right and each in result]
    inner = [each for each in left if each in right and each not in result]
    rows = [each for each in left if each not in right]
    columns = [each for each in right if each not in left]
    pairs = [*zip(left, tensors[0].shape, strict=True), *zip(right, tensors[1].shape, strict=True)]
    sides = dict(pairs)
    if any(sides[letter] != side for letter, side in pairs):  # an axis of one that is broadcast
        return NotImplemented

    def ordered(x: Tensor, letters: str, *parts: Sequence[str]) -> Tensor:
        turned = x.permute([letters.index(each) for part in parts for each in part])
        return turned.reshape([math.prod(sides[each] for each in part) for part in parts])

    product = torch.bmm(
        ordered(tensors[0], left, batch, rows, inner), ordered(tensors[1], right, batch, inner, columns)
    )
    made = [*batch, *rows, *columns]
    return product.reshape([sides[each] for each in made]).permute([made.index(each) for each in result])
