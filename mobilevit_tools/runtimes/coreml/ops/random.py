"""Random numbers. Core ML does not say which generator it has: values are of the right kind, and never the same."""

from __future__ import annotations

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError

from .registry import Ints, bounded, operator

RANDOM = frozenset({"random_bernoulli", "random_categorical", "random_normal", "random_uniform"})
"""Operators whose values cannot be compared with anything."""


def _generator(seed: int) -> torch.Generator:
    """Torch's Mersenne Twister, seeded by the operator; by 0 where it asks for another seed each time (-1)."""
    return torch.Generator().manual_seed(max(seed, 0))


@operator("random_uniform")
def _uniform(shape: Ints, low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    return low + (high - low) * torch.rand(bounded(*shape), generator=_generator(seed))


@operator("random_normal")
def _normal(shape: Ints, mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    return mean + stddev * torch.randn(bounded(*shape), generator=_generator(seed))


@operator("random_bernoulli")
def _bernoulli(shape: Ints, prob: float = 0.5, seed: int = -1) -> Tensor:
    return (torch.rand(bounded(*shape), generator=_generator(seed)) < prob).float()


@operator("random_categorical")
def _categorical(x: Tensor, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    if mode not in {"logits", "probs"}:
        raise BadInputError(f"A random_categorical operator has the unknown mode {mode!r}.")
    bounded(*x.shape[:-1], size)
    weights = torch.softmax(x, -1) if mode == "logits" else x
    drawn = torch.multinomial(weights.reshape(-1, x.shape[-1]), size, replacement=True, generator=_generator(seed))
    return drawn.float().reshape(*x.shape[:-1], size)
