"""Sums, differences and quotients with a factor of their own, in plain arithmetic."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def with_real_number(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return the form of an operator on a real tensor and a whole number with the number as a real one.

    Converters may store the number as an integer, and convert it whenever the program runs.
    """

    def form(x: Any, other: Any, **options: Any) -> Any:
        if type(other) is not int or not isinstance(x, Tensor) or not x.is_floating_point():
            return NotImplemented
        return operator(x, float(other), **options)

    return form


def scaled_sum(x: Tensor, other: Any, alpha: float = 1) -> Any:
    """Write x + alpha y with a product; converters may take every sum for a plain one."""
    return NotImplemented if alpha == 1 else x + other * alpha


def scaled_difference(x: Tensor, other: Any, alpha: float = 1) -> Any:
    """Write x - alpha y with a product."""
    return NotImplemented if alpha == 1 else x - other * alpha


def scaled_reverse_difference(x: Tensor, other: Any, alpha: float = 1) -> Any:
    """Write y - alpha x with a product."""
    return NotImplemented if alpha == 1 else other - x * alpha


def whole_power(x: Tensor, exponent: float) -> Any:
    """Write a third or fourth power as products."""
    if exponent not in {3, 4}:
        return NotImplemented
    square = x * x
    return square * (x if exponent == 3 else square)


def product_added(x: Tensor, left: Tensor, right: Tensor, *, value: float = 1) -> Tensor:
    """Write x + v (y z) out; torch's own decomposition multiplies by v where it is the whole number 1, too."""
    return _added(x, left * right, value)


def quotient_added(x: Tensor, dividend: Tensor, divisor: Tensor, *, value: float = 1) -> Tensor:
    """Write x + v (y / z) out, as :func:`product_added`."""
    return _added(x, dividend / divisor, value)


def _added(x: Tensor, term: Tensor, value: float) -> Tensor:
    return x + (term if value == 1 else term * float(value))


def mixture(x: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """Write x + w (y - x) out."""
    return x + (end - x) * weight


def inverse(x: Tensor) -> Tensor:
    """Write 1 / x as a division; converters may add an epsilon to the divisor of a reciprocal."""
    return torch.ones((), dtype=x.dtype) / x


def typed_choice(condition: Tensor, x: Any, other: Any) -> Any:
    """Write a choice between a tensor and a number with the number in the tensor's type."""
    like = x if isinstance(x, Tensor) else other if isinstance(other, Tensor) else torch.ones(())
    chosen = [each if isinstance(each, Tensor) else torch.full((), each, dtype=like.dtype) for each in (x, other)]
    return torch.where(condition, *chosen)


def distances(x: Tensor, y: Tensor, p: float = 2.0, compute_mode: int | None = None) -> Any:
    """Write the Euclidean distances of points (..., n, d) and (..., m, d) as roots of sums of squares."""
    if p != 2:
        return NotImplemented
    differences = x.unsqueeze(-2) - y.unsqueeze(-3)
    return torch.sqrt((differences * differences).sum(-1))


def scaled_product_sum(x: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """Write beta x + alpha (left @ right) with products of floating-point factors."""
    if beta == 1 and alpha == 1:
        return NotImplemented
    product = torch.matmul(left, right) * float(alpha)
    return product + x * float(beta) if beta else product


def spelt_einsum(equation: str, tensors: Sequence[Tensor], *, path: Sequence[int] | None = None) -> Any:
    """Write an einsum with an ellipsis with a letter for each axis that it stands for."""
    if "..." not in equation:
        return NotImplemented
    terms, arrow, result = equation.replace(" ", "").partition("->")
    written = terms.split(",")
    counts = [
        each.dim() - len(term.replace("...", "")) if "..." in term else 0
        for term, each in zip(written, tensors, strict=True)
    ]
    free = [letter for letter in string.ascii_letters if letter not in equation][: max(counts)]
    sizes: dict[str, set[int]] = {letter: set() for letter in free}
    for count, term, each in zip(counts, written, tensors, strict=True):
        start = term.find("...")
        for letter, size in zip(free[len(free) - count :], each.shape[max(start, 0) :], strict=False):
            sizes[letter].add(size)
    if not arrow or any(len(each) > 1 for each in sizes.values()):  # axes that are broadcast
        return NotImplemented
    spelt = [
        term.replace("...", "".join(free[len(free) - count :])) for term, count in zip(written, counts, strict=True)
    ]
    return torch.einsum(f"{','.join(spelt)}->{result.replace('...', ''.join(free))}", list(tensors))
