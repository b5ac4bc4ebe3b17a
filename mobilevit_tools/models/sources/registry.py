"""Every source of models, as data only: importing this module imports no source and no framework.

A source is one file with a function ``find_model(name)`` that returns a
:class:`~mobilevit_tools.models.builder.OwnModel` or raises what is wrong with the name, and one entry here. It may have
``list_models(pattern)``, which yields :class:`Offered`. An installed package registers one of its own in the
entry-point group ``mobilevit_tools.sources``: ``prefix = "package.module"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from mobilevit_tools.errors import BadInputError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from mobilevit_tools.models.builder import OwnModel

SOURCE_GROUP = "mobilevit_tools.sources"


@dataclass(frozen=True)
class Source:
    """Where models come from.

    Attributes:
        prefix: What stands before the colon.
        name: What stands behind it, as people are told.
        title: What it is.
        example: A name of one of its models.
        module: Dotted path of the file that implements it.
        package: The package that it needs.
        extra: The extra of ours that installs it.
        folders: Whether a name may be a folder on this machine.
    """

    prefix: str
    name: str
    title: str
    example: str
    module: str
    package: str
    extra: str
    folders: bool = False


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.prefix: source
        for source in (
            Source(
                "timm",
                "NAME or NAME.TAG",
                "PyTorch Image Models",
                "timm:mobilevitv2_050.cvnets_in1k",
                "mobilevit_tools.models.sources.timm",
                package="timm",
                extra="timm",
            ),
            Source(
                "hf",
                "OWNER/NAME, OWNER/NAME@REVISION or FOLDER",
                "image models of transformers, from the Hugging Face Hub or a folder that save_pretrained() wrote",
                "hf:apple/mobilevit-xx-small",
                "mobilevit_tools.models.sources.huggingface",
                package="transformers",
                extra="transformers",
                folders=True,
            ),
        )
    }
)


@dataclass(frozen=True)
class Offered:
    """A model that a source has.

    Attributes:
        name: Its whole name, with the prefix.
        family: What it is a variant of.
        params: Trainable parameters; None where counting them would cost too much.
        input_size: Height and width in pixels.
        weights: Where its trained weights are; None where it has none.
    """

    name: str
    family: str
    params: int | None
    input_size: tuple[int, int]
    weights: str | None


class ModelSource(Protocol):
    """What the file of a source has; ``list_models`` may be absent."""

    def find_model(self, name: str) -> OwnModel:
        """Return how to build the model that stands behind the prefix, without reading any weights."""

    def list_models(self, pattern: str) -> Iterable[Offered]:
        """Yield the models whose names behind the prefix match a shell-style pattern."""


def load_source(prefix: str) -> ModelSource:
    """Import a source.

    Raises:
        UsageError: There is none of that prefix; the hint names the nearest.
        MissingDependencyError: The package that it needs is not installed.
        BadInputError: What an installed package registered cannot be imported.
    """
    source = SOURCES.get(prefix)
    if source is not None:
        if find_spec(source.package) is None:
            raise MissingDependencyError(
                f"Models of {prefix}: need {source.package}, which is not installed.",
                hint=f"pip install 'mobilevit-tools[{source.extra}]'",
            )
        return cast("ModelSource", import_module(source.module))
    entry = next(iter(entry_points(group=SOURCE_GROUP, name=prefix)), None)
    if entry is None:
        known = [*SOURCES, *entry_points(group=SOURCE_GROUP).names]
        nearest = get_close_matches(prefix, known, n=1, cutoff=0.5)
        raise UsageError(
            f"There is no source of models named {prefix!r}.",
            hint=f"Did you mean {nearest[0]}:?" if nearest else f"Sources: {', '.join(known)}.",
            code="unknown_source",
        )
    from mobilevit_tools.models.guard import guarded

    found: object = guarded(f"The source {prefix} ({entry.value})", entry.load)
    if not callable(getattr(found, "find_model", None)):
        raise BadInputError(f"The source {prefix} ({entry.value}) has no find_model(name).", code="own_model")
    return cast("ModelSource", found)


def listed_models(prefix: str, pattern: str) -> list[Offered]:
    """Return the models of a source whose names behind the prefix match a shell-style pattern, in its order.

    Raises:
        UsageError: There is no such source, or it has no list.
        MissingDependencyError: The package that it needs is not installed.
    """
    source = load_source(prefix)
    if not hasattr(source, "list_models"):
        raise UsageError(
            f"Models of {prefix}: cannot be listed.", hint="Use a full name: `mvt info NAME`.", code="no_list"
        )
    return list(source.list_models(pattern))
