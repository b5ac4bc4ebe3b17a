"""Model names: ``arch`` or ``arch.tag``, with the nearest names in reach when one is misspelt."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.cards import ModelCard, WeightsCard, family_cards
from mobilevit_tools.models.references import split_source
from mobilevit_tools.models.registry import FAMILIES
from mobilevit_tools.models.sources.registry import SOURCES, listed_models

MAX_FILE_NAME = 256
"""A longer name is no file's, and systems refuse to look for it."""


def all_cards() -> Iterator[ModelCard]:
    """Yield the card of every registered architecture, in listing order."""
    for family, entry in FAMILIES.items():
        cards = family_cards(family)
        yield from (cards[name] for name in entry.architectures)


def is_registered(name: str) -> bool:
    """Tell whether ``arch`` or ``arch.tag`` is of an architecture that the project ships, whatever its tag."""
    return any(name.partition(".")[0] in family.architectures for family in FAMILIES.values())


def has_bundled_weights(name: str) -> bool:
    """Tell whether a name has the tag of weights that come with the project."""
    return is_registered(name) and "." in name


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of all models, tags of bundled weights included, that match a shell-style pattern.

    One such as ``timm:mobilevit*`` lists a source's.

    Raises:
        UsageError: There is no such source, or it has no list.
        MissingDependencyError: The package that the source needs is not installed.

    Example:
        >>> mvt.list_models("care_s0*")
        ['care_s0', 'care_s0.imagenette']
    """
    sourced = split_source(pattern)
    if sourced is not None:
        return [model.name for model in listed_models(*sourced)]
    names = []
    for card in all_cards():
        names.append(card.name)
        names += [f"{card.name}.{tag}" for tag in card.weights]
    return [name for name in names if fnmatchcase(name, pattern)]


def nearest_hint(name: str) -> str:
    """Return a hint that names the models nearest to a misspelt one, or what people may have meant instead."""
    nearest = get_close_matches(name, list_models(), n=3, cutoff=0.5)
    if nearest:
        return f"Did you mean {' or '.join(nearest)}?"
    path = Path(name)
    if path.suffix == ".py":
        return f"Name its function or class: {name}:build."
    if len(path.name) < MAX_FILE_NAME and path.exists():
        return f"This is a file or folder. Give the model's name, and its weights with --checkpoint {name}."
    examples = " or ".join(source.example for source in SOURCES.values())
    return f"See `mvt models`. Models of other projects have a prefix, such as {examples}."


def resolve(name: str) -> tuple[ModelCard, WeightsCard | None]:
    """Return the card of ``arch`` or ``arch.tag``, and of its weights where a tag was given.

    Raises:
        BadInputError: No such model; the hint names the nearest ones.
    """
    arch, dot, tag = name.partition(".")
    card = next((card for card in all_cards() if card.name == arch), None)
    if card is None or (dot and tag not in card.weights):
        raise BadInputError(f"There is no model named {name!r}.", hint=nearest_hint(name), code="unknown_model")
    return card, card.weights[tag] if dot else None
