"""Models that the project does not ship: a function in a Python file, or one that an installed package registers.

``path/to/net.py:build`` names the function ``build`` of a file; a package registers ``name = "package.module:build"``
in the entry-point group ``mobilevit_tools.models`` and people then write ``name``. The function returns a
:class:`torch.nn.Module`, or a pair of it and a card: a dict with some of the fields of :class:`Card`. It is given
the options that were asked for, ``num_classes`` where that was asked for, and ``img_size`` (height, width) where an
input size was asked for and it takes one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models import neighbours
from mobilevit_tools.models.guard import guarded

if TYPE_CHECKING:
    from mobilevit_tools.models.options import OptionValue

ENTRY_POINT_GROUP = "mobilevit_tools.models"

_FILE_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)", re.DOTALL)


@dataclass(frozen=True)
class OwnModel:
    """A function that builds a model.

    Attributes:
        name: ``net.py:build`` or the entry point's name; it holds no path.
        builder: The function.
        folder: The folder of its file, importable from while it runs; None for an installed package's.
    """

    name: str
    builder: Callable[..., object]
    folder: Path | None = None


def is_file_reference(name: str) -> bool:
    """Tell whether ``name`` is of the form ``path/to/net.py:build``."""
    return _FILE_REFERENCE.fullmatch(name) is not None


def short_name(name: str) -> str:
    """Return ``net.py:build`` for ``path/to/net.py:build``, and any other name as it is."""
    found = _FILE_REFERENCE.fullmatch(name)
    return f"{Path(found['file']).name}:{found['function']}" if found else name


def folder_name(name: str) -> str:
    """Return a name for a model's folder that is safe on every file system: ``net_build`` for ``net.py:build``."""
    found = _FILE_REFERENCE.fullmatch(name)
    return re.sub(r"[^\w.-]+", "_", f"{Path(found['file']).stem}_{found['function']}") if found else name


def find_own_model(name: str) -> OwnModel | None:
    """Return the function that ``name`` refers to, or None where it is neither a file's nor an entry point.

    A file that people name is run, as Python would run it.

    Raises:
        BadInputError: The file or package cannot be imported, or has no such function.
    """
    found = _FILE_REFERENCE.fullmatch(name)
    if found is not None:
        return _from_file(Path(found["file"]), found["function"])
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


def _from_file(path: Path, function: str) -> OwnModel:
    if not path.is_file():
        raise BadInputError(f"There is no file at {path}.", code="unknown_model")
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
            hint=f"Did you mean {nearest[0]}?" if nearest else None,
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
            f"{own.name} cannot be called so: {error}.", hint=f"It takes these options: {named}.", code="model_option"
        ) from error
    return given
