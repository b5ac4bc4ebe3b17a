"""Models that the project does not ship: a function in a Python file, or one that an installed package registers.

``path/to/net.py:build`` names the function ``build`` of a file; a package registers ``name = "package.module:build"``
in the entry-point group ``mobilevit_tools.models`` and people then write ``name``; ``PREFIX:NAME`` is a model of a
source (:mod:`mobilevit_tools.models.sources.registry`). The function returns a
:class:`torch.nn.Module`, or a pair of it and a card: a dict with some of the fields of :class:`Card`. It is given
the options that were asked for, ``num_classes`` where that was asked for, and ``img_size`` (height, width) where an
input size was asked for and it takes one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models import neighbours
from mobilevit_tools.models.builder import OwnModel
from mobilevit_tools.models.guard import guarded
from mobilevit_tools.models.references import is_file_reference, split_file, split_source
from mobilevit_tools.models.sources.registry import load_source
from mobilevit_tools.paths import hint_for_missing

if TYPE_CHECKING:
    from mobilevit_tools.models.options import OptionValue

ENTRY_POINT_GROUP = "mobilevit_tools.models"


def find_own_model(name: str) -> OwnModel | None:
    """Return the function that ``name`` refers to, or None where it is no file's, no source's and no entry point.

    A file that people name is run, as Python would run it.

    Raises:
        BadInputError: The file or package cannot be imported, or has no such function, or the source no such model.
        MissingDependencyError: The package that the source needs is not installed.
        UsageError: There is no such source.
    """
    if is_file_reference(name):
        return _from_file(*split_file(name))
    sourced = split_source(name)
    if sourced is not None:
        return load_source(sourced[0]).find_model(sourced[1])
    entry = next(iter(entry_points(group=ENTRY_POINT_GROUP, name=name)), None)
    if entry is None:
        return None
    builder = guarded(f"The entry point {name} ({entry.value})", entry.load)
    return OwnModel(name, _callable(builder, f"the entry point {name}"))


def call_builder(
    own: OwnModel, *, num_classes: int | None, input_size: tuple[int, int] | None, options: Mapping[str, OptionValue]
) -> object:
    """Return what the function returns.

    Raises:
        BadInputError: The function fails.
        UsageError: It does not take an option.
    """
    given = _arguments(own, num_classes, input_size, options)
    with beside(own.folder):
        return guarded(own.name, lambda: own.builder(**given))


def beside(folder: Path | None) -> AbstractContextManager[None]:
    """Let what runs import the neighbours of a file in ``folder``; None for an installed package's model."""
    return nullcontext() if folder is None else neighbours.importable(folder)


def check_file(path: Path) -> None:
    """Refuse the path of no file.

    Raises:
        BadInputError: There is none.
    """
    if not path.is_file():
        raise BadInputError(f"There is no file at {path}.", hint=hint_for_missing(path), code="unknown_model")


def _from_file(path: Path, function: str) -> OwnModel:
    check_file(path)
    name = f"{path.name}:{function}"
    spec = spec_from_file_location(neighbours.module_name(path), path)
    if spec is None or spec.loader is None:
        raise BadInputError(f"{path} cannot be imported.", code="own_model")
    module, loader = module_from_spec(spec), spec.loader
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up
    with neighbours.importable(path.parent):
        guarded(str(path), lambda: loader.exec_module(module))
    if not hasattr(module, function):
        nearest = get_close_matches(function, vars(module), n=1)
        raise BadInputError(
            f"{path} has no function named {function!r}.",
            hint=f"Did you mean {nearest[0]}?" if nearest else f"Name a function or class of {path.name}.",
            code="unknown_model",
        )
    return OwnModel(name, _callable(getattr(module, function), name), path.parent)


def _callable(value: object, what: str) -> Callable[..., object]:
    if not callable(value):
        raise BadInputError(f"{what} is a {type(value).__name__}, not a function.", code="own_model")
    return value


def _arguments(
    own: OwnModel, num_classes: int | None, input_size: tuple[int, int] | None, options: Mapping[str, OptionValue]
) -> dict[str, object]:
    taken = signature(own.builder)
    given: dict[str, object] = dict(options)
    if num_classes is not None and "num_classes" in taken.parameters:
        given["num_classes"] = num_classes
    if input_size is not None and "img_size" in taken.parameters:
        given["img_size"] = input_size
    try:
        taken.bind(**given)
    except TypeError as error:
        named = ", ".join(taken.parameters) or "none"
        raise UsageError(
            f"{own.name} cannot be called with these options: {error}.",
            hint=f"It takes these options: {named}.",
            code="model_option",
        ) from error
    return given
