"""Weights that a checkpoint keeps in parts: weight norm, spectral norm and pruning, folded to the plain tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

_PARTS = re.compile(
    r"(?P<layer>(?:.*\.)?)"
    r"(?:parametrizations\.(?P<new>\w+)\.(?P<of>original[01]?|0\._[uv])|(?P<old>\w+?)_(?P<part>orig|mask|g|v|u))"
)
Parts = Mapping[str, Tensor]
Rule = Callable[[Parts, nn.Module | None], Tensor]


def plain_name(key: str) -> str | None:
    """Return the key of the plain tensor that ``key`` may hold a part of; None where it looks like none."""
    match = _PARTS.fullmatch(key)
    return None if match is None else match["layer"] + (match["new"] or match["old"])


def part_name(key: str) -> str:
    """Return which part of a tensor ``key`` holds, such as ``g`` or ``original0``."""
    match = _PARTS.fullmatch(key)
    if match is None:
        raise ValueError(key)
    return str(match["of"] or match["part"])


def fold(parts: Parts, layer: nn.Module | None) -> Tensor | None:
    """Return the tensor that parts of one make, as its layer would compute it in evaluation mode.

    Args:
        parts: Tensors by :func:`part_name`.
        layer: The layer that gets it, where it is known: a transposed convolution's channels are in another place.

    Returns:
        None where they are the parts of nothing known, or do not fit together.
    """
    rule = _RULES.get(frozenset(parts))
    if rule is None:
        return None
    try:
        return rule({name: tensor.float() for name, tensor in parts.items()}, layer)
    except (RuntimeError, IndexError):
        return None


def _weight_norm(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Scale each slice of ``direction`` to the length in ``magnitude``, whose shape says over what lengths are."""
    over = [axis for axis in range(direction.ndim) if magnitude.ndim == 0 or magnitude.shape[axis] == 1]
    length: Tensor = torch.linalg.vector_norm(direction, dim=over, keepdim=True)
    return direction * (magnitude / length)


def _spectral_norm(weight: Tensor, left: Tensor, right: Tensor, layer: nn.Module | None) -> Tensor:
    """Divide by the largest singular value, as the power iteration's vectors estimate it."""
    first = 1 if isinstance(layer, _ConvTransposeNd) else 0
    matrix = weight.movedim(first, 0).flatten(1)
    return weight / torch.dot(left, matrix @ right)


_RULES: Mapping[frozenset[str], Rule] = MappingProxyType(
    {
        frozenset({"g", "v"}): lambda parts, _: _weight_norm(parts["g"], parts["v"]),
        frozenset({"original0", "original1"}): lambda parts, _: _weight_norm(parts["original0"], parts["original1"]),
        frozenset({"orig", "mask"}): lambda parts, _: parts["orig"] * parts["mask"],
        frozenset({"orig", "u", "v"}): lambda parts, layer: _spectral_norm(
            parts["orig"], parts["u"], parts["v"], layer
        ),
        frozenset({"orig", "u"}): lambda parts, layer: _without_right(parts["orig"], parts["u"], layer),
        frozenset({"original", "0._u", "0._v"}): lambda parts, layer: _spectral_norm(
            parts["original"], parts["0._u"], parts["0._v"], layer
        ),
    }
)


def _without_right(weight: Tensor, left: Tensor, layer: nn.Module | None) -> Tensor:
    """Spectral norm as old files have it, without the right vector: one half of a power iteration gives it."""
    first = 1 if isinstance(layer, _ConvTransposeNd) else 0
    matrix = weight.movedim(first, 0).flatten(1)
    return _spectral_norm(weight, left, nn.functional.normalize(left @ matrix, dim=0), layer)
