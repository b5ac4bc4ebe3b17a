"""The class at each pixel in place of the scores, in the smallest type of integers that a target has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mobilevit_tools.data.contract import Contract


class ClassMap(nn.Module):
    """Gives the class of the highest score at each place, the first of several.

    Args:
        module: Gives scores (B, classes, H, W).
        dtype: The type of the classes' indices.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module
        self.dtype = dtype

    def forward(self, images: Tensor) -> Tensor:
        """Return class indices (B, H, W)."""
        scores: Tensor = self.module(images)
        return scores.argmax(dim=1).to(self.dtype)


def answering(module: nn.Module, contract: Contract, types: Sequence[torch.dtype]) -> nn.Module:
    """Return ``module`` as it gives class maps, where the contract says so; else as it is.

    Args:
        module: Gives scores (B, classes, H, W).
        contract: What the artifact gives.
        types: What the target can return, the smallest first; the first that holds all classes is taken.
    """
    if contract.output != "class_map":
        return module
    fitting = (dtype for dtype in types if torch.iinfo(dtype).max >= contract.classes - 1)
    return ClassMap(module, next(fitting, types[-1]))


def named_within(names: Iterable[str], contract: Contract) -> Iterator[str]:
    """Yield the names that a module's parameters have in what :func:`answering` makes of it."""
    prefix = "module." if contract.output == "class_map" else ""
    return (f"{prefix}{name}" for name in names)
