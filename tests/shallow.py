"""The registered architectures with their repeated blocks cut to two of a kind: as wide, and much faster to convert."""

from __future__ import annotations

from importlib import import_module
from itertools import groupby
from typing import Any

import pytest
from torch import nn

from mobilevit_tools.models.registry import FAMILIES

KEPT = 2
"""The first block of a stage may differ from the rest; the rest are alike."""


def cut(model: nn.Module) -> nn.Module:
    """Drop all but the first two of what stands in a row and is of one class, in place."""
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential | nn.ModuleList) and len(module) > KEPT:
            kept = [block for _, alike in groupby(module, layout) for block in list(alike)[:KEPT]]
            module._modules = {str(index): block for index, block in enumerate(kept)}
    return model


def layout(block: nn.Module) -> list[tuple[type, list[tuple[int, ...]]]]:
    """What a block is made of: the class and the shapes of each of its parts."""
    return [(type(part), [tuple(table.shape) for table in part.parameters(recurse=False)]) for part in block.modules()]


def cut_builder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let ``name`` be built with two blocks of a kind a stage, for one test."""
    (module,) = (import_module(family.module) for family in FAMILIES.values() if name in family.architectures)
    builder = getattr(module, name)
    monkeypatch.setattr(module, name, _Cut(builder))


class _Cut:
    """A builder with the signature of another one."""

    def __init__(self, builder: Any) -> None:
        self.__wrapped__ = builder

    def __call__(self, *args: Any, **kwargs: Any) -> nn.Module:
        return cut(self.__wrapped__(*args, **kwargs))
