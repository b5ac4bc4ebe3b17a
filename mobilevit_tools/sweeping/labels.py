"""Names for people, which tell every cell of a sweep from every other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.models.references import short_name
from mobilevit_tools.paths import shared_parts


@dataclass(frozen=True)
class Label:
    """What people call a cell.

    Attributes:
        cell: The whole name.
        model: Its part that tells the model from others.
        variant: Its part that tells the entry from others of the same model; empty where nothing is to be said.
    """

    cell: str
    model: str
    variant: str


def labels_of(cells: Collection[Cell]) -> dict[Cell, Label]:
    """Name every cell of a sweep, in its order; files of one name keep as much of their paths as tells them apart."""
    models = _shortened({cell.model for cell in cells}, short_name)
    checkpoints = _shortened({cell.checkpoint for cell in cells if cell.checkpoint}, lambda path: Path(path).name)
    labels = {}
    for cell in cells:
        model = models[cell.model]
        variant = ", ".join(_settings(cell, checkpoints))
        name = replace(cell, model=f"{model} ({variant})" if variant else model).name
        labels[cell] = Label(name, model, variant)
    return labels


def _settings(cell: Cell, checkpoints: Mapping[str, str]) -> Iterator[str]:
    """Yield what a plan says of a model beside its name."""
    if cell.checkpoint:
        yield checkpoints[cell.checkpoint]
    if cell.num_classes:
        yield f"{cell.num_classes} classes"
    if cell.labels:
        yield f"labels {cell.labels}"
    if cell.input_size:
        yield cell.input_size
    for word, values in (("mean", cell.mean), ("std", cell.std)):
        if values:
            yield f"{word} {values}"
    yield from cell.options


def _shortened(names: Collection[str], shorten: Callable[[str], str]) -> dict[str, str]:
    """Shorten names; of those that become the same, keep what their folders do not have in common."""
    groups: dict[str, list[list[str]]] = {}
    for name in names:
        groups.setdefault(shorten(name), []).append(name.split("/"))
    shortened = {}
    for short, alike in groups.items():
        first = shared_parts([parts[:-1] for parts in alike])
        for parts in alike:
            shortened["/".join(parts)] = "/".join(parts[first:]) if len(alike) > 1 else short
    return shortened
