"""The registered architectures with their repeated blocks cut to one of a kind: as wide, and much faster to convert."""

from __future__ import annotations

from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import nn

from mobilevit_tools.models import factory
from mobilevit_tools.models.names import resolve
from mobilevit_tools.models.registry import FAMILIES


def cut(model: nn.Module) -> nn.Module:
    """Drop all but the first of blocks in a row whose parts have the same classes and shapes, in place."""
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential | nn.ModuleList):
            kept = [next(alike) for _, alike in groupby(module, layout)]
            module._modules = {str(index): block for index, block in enumerate(kept)}
    return model


def layout(block: nn.Module) -> list[tuple[type, list[tuple[int, ...]]]]:
    """What a block is made of: the class and the shapes of each of its parts."""
    return [(type(part), [tuple(table.shape) for table in part.parameters(recurse=False)]) for part in block.modules()]


def cut_builder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let ``name`` be built with one block of a kind a stage, for one test."""
    (module,) = (import_module(family.module) for family in FAMILIES.values() if name in family.architectures)
    builder = getattr(module, name)
    monkeypatch.setattr(module, name, _Cut(builder))


def cut_bundled(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    """Let a model with bundled weights be built as :func:`cut_builder` does, with the weights of what is left."""
    card, weights = resolve(name)
    assert weights is not None
    save_file(cut(factory.create_model(name)).state_dict(), folder / weights.file)
    monkeypatch.setattr(factory, "WEIGHTS_FOLDER", folder)
    cut_builder(monkeypatch, card.name)


class _Cut:
    """A builder with the signature of another one."""

    def __init__(self, builder: Any) -> None:
        self.__wrapped__ = builder

    def __call__(self, *args: Any, **kwargs: Any) -> nn.Module:
        return cut(self.__wrapped__(*args, **kwargs))
