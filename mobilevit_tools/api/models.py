"""List the models, from their cards alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.names import all_cards, nearest_hint
from mobilevit_tools.models.references import split_source
from mobilevit_tools.models.sources.registry import listed_models
from mobilevit_tools.result import Result


@dataclass(frozen=True)
class ListedModel:
    """One model, or one set of its bundled weights.

    Attributes:
        name: ``arch`` or ``arch.tag``.
        family: Its family.
        params: Trainable parameters: with these weights' classes, or of the bare architecture with its default ones;
            None for a source's where a pattern matches too many to build each.
        macs: Multiply-accumulates of one image at ``input_size``; None where nobody counted.
        input_size: Height and width in pixels that these weights are meant for, or the architecture's default.
        published_top1: ImageNet-1K top-1 accuracy in percent, as published; None where it is not.
        weights: Where the bundled weights come from, or where a source has its own; None where there are none.
        reconstruction: Whether the architecture is this project's own reconstruction.
    """

    name: str
    family: str
    params: int | None
    macs: int | None
    input_size: tuple[int, int]
    published_top1: float | None
    weights: str | None
    reconstruction: bool


@dataclass(frozen=True, repr=False)
class ModelsResult(Result, command="models"):
    """The models that matched, in listing order."""

    models: tuple[ListedModel, ...]


def models(pattern: str = "*") -> ModelsResult:
    """Return every model whose name matches a shell-style pattern; one such as ``timm:mobilevit*`` lists a source's.

    Raises:
        BadInputError: None does.
        UsageError: There is no such source, or it has no list.
        MissingDependencyError: The package that the source needs is not installed.
    """
    sourced = split_source(pattern)
    matching = _shipped(pattern) if sourced is None else _offered(*sourced)
    if not matching:
        raise BadInputError(f"No model's name matches {pattern!r}.", hint=nearest_hint(pattern), code="unknown_model")
    return ModelsResult(matching)


def _offered(prefix: str, pattern: str) -> tuple[ListedModel, ...]:
    return tuple(
        ListedModel(
            name=model.name,
            family=model.family,
            params=model.params,
            macs=None,
            input_size=model.input_size,
            published_top1=None,
            weights=model.weights,
            reconstruction=False,
        )
        for model in listed_models(prefix, pattern)
    )


def _shipped(pattern: str) -> tuple[ListedModel, ...]:
    found = []
    for card in all_cards():
        bare = ListedModel(
            name=card.name,
            family=card.family,
            params=card.params,
            macs=card.macs,
            input_size=card.preprocessing.input_size,
            published_top1=card.published.top1,
            weights=None,
            reconstruction=card.reconstruction is not None,
        )
        found.append(bare)
        found += [
            replace(
                bare,
                name=f"{card.name}.{tag}",
                params=weights.params,
                macs=weights.macs,
                input_size=weights.preprocessing.input_size,
                published_top1=None,
                weights=weights.source,
            )
            for tag, weights in card.weights.items()
        ]
    return tuple(model for model in found if fnmatchcase(model.name, pattern))
