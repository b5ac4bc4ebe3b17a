"""Models that the project does not ship: a function in a Python file, or one that an installed package registers.

``path/to/net.py:build`` names the function ``build`` of a file; a package registers ``name = "package.module:build"``
in the entry-point group ``mobilevit_tools.models`` and people then write ``name``. The function returns a
:class:`torch.nn.Module`, or a pair of it and a card: a dict with some of the fields of :class:`OwnCard`. It is given
the options that were asked for, ``num_classes`` where that was asked for, and ``img_size`` (height, width) where an
input size was asked for and it takes one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from mobilevit_tools.data.labels import check_label_count
from mobilevit_tools.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocessing
from mobilevit_tools.errors import BadInputError, MvtError, UsageError
from mobilevit_tools.models import neighbours
from mobilevit_tools.models.cards import ModelCard, Published

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.models.options import OptionValue

ENTRY_POINT_GROUP = "mobilevit_tools.models"

_FILE_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)", re.DOTALL)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class OwnCard:
    """What a function may say of the model that it builds; all of it may be left out.

    Attributes:
        title: The model's name for people.
        paper: What describes it.
        license: Licence notes; they go into every artifact.
        input_size: Height and width of the default input.
        crop_fraction: See :class:`~mobilevit_tools.data.preprocessing.Preprocessing`, as for the next three.
        interpolation: The resampling filter.
        mean: Per-channel mean, on the 0-1 scale.
        std: Per-channel standard deviation, on the 0-1 scale.
        labels: Class names in index order.
    """

    title: str = ""
    paper: str = ""
    license: str = ""
    input_size: tuple[int, int] | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    labels: tuple[str, ...] | None = None


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


@dataclass(frozen=True)
class BuiltModel:
    """What a function built, checked.

    Attributes:
        module: The model, in evaluation mode.
        card: Its card.
        labels: Its class names, where it says them.
        num_classes: Its class count; 0 where it returns maps.
        features_only: Whether it returns maps in place of logits.
    """

    module: nn.Module
    card: ModelCard
    labels: tuple[str, ...] | None
    num_classes: int
    features_only: bool


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
    builder = _guarded(f"The entry point {name} ({entry.value})", entry.load)
    return OwnModel(name, _callable(builder, f"the entry point {name}"))


def build_own_model(
    own: OwnModel, *, num_classes: int | None, input_size: tuple[int, int] | None, options: Mapping[str, OptionValue]
) -> BuiltModel:
    """Build the model and try it on one input.

    Raises:
        BadInputError: The function fails, or what it builds is no model or does not take the input.
        UsageError: The function does not take an option, or nobody says the input size.
    """
    given = _arguments(own, num_classes, input_size, options)
    with _beside(own.folder):
        built = _guarded(own.name, lambda: own.builder(**given))
    given_module, stated = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
    module, card = _as_module(own.name, given_module), _read_card(own.name, stated)
    size = input_size or card.input_size
    if size is None:
        raise UsageError(
            f"{own.name} does not say its input size.",
            hint="Give --input-size HEIGHTxWIDTH, or let the function return a card with input_size.",
            code="input_size",
        )
    if min(size) < 1:
        raise BadInputError(f"An input of {size[0]}x{size[1]} pixels is not possible.", code="input_size")
    classes = _try_out(own, module, size)
    if num_classes is not None and classes != num_classes:
        raise BadInputError(f"{own.name} has {classes} classes, not {num_classes}.", code="class_count")
    if card.labels is not None:
        check_label_count(card.labels, classes)
    preprocessing = Preprocessing(size, card.crop_fraction, card.interpolation, card.mean, card.std)
    return BuiltModel(module, _model_card(own, module, card, preprocessing, classes), card.labels, classes, not classes)


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
        _guarded(str(path), lambda: loader.exec_module(module))
    if not hasattr(module, function):
        nearest = get_close_matches(function, vars(module), n=1)
        raise BadInputError(
            f"{path} has no function named {function!r}.",
            hint=f"Did you mean {nearest[0]}?" if nearest else None,
            code="unknown_model",
        )
    return OwnModel(name, _callable(getattr(module, function), name), path.parent)


def _beside(folder: Path | None) -> AbstractContextManager[None]:
    return nullcontext() if folder is None else neighbours.importable(folder)


def _guarded(what: str, run: Callable[[], _Result]) -> _Result:
    """Run other people's code; whatever it raises becomes one sentence."""
    try:
        return run()
    except MvtError:
        raise
    except (Exception, SystemExit) as error:
        line = (str(error).strip() or "no message").splitlines()[0]
        raise BadInputError(f"{what} failed with {type(error).__name__}: {line}", code="own_model") from error


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


def _read_card(name: str, stated: object) -> OwnCard:
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(stated, Mapping):
        raise BadInputError(f"The card of {name} is a {type(stated).__name__}, not a dict.", code="own_card")
    known = [field.name for field in fields(OwnCard)]
    unknown = [str(key) for key in stated if key not in known]
    if unknown:
        raise BadInputError(
            f"The card of {name} has unknown fields: {', '.join(unknown)}.",
            hint=f"It may have {', '.join(known)}.",
            code="own_card",
        )
    try:
        return TypeAdapter(OwnCard).validate_python(dict(stated))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise BadInputError(f"The card of {name} has a bad {field}: {first['msg']}.", code="own_card") from error


def _as_module(name: str, value: object) -> nn.Module:
    from torch import nn

    if not isinstance(value, nn.Module):
        raise BadInputError(f"{name} returns a {type(value).__name__}, not a torch.nn.Module.", code="own_model")
    return value.eval()


def _try_out(own: OwnModel, module: nn.Module, size: tuple[int, int]) -> int:
    """Run the model on zeros; return its class count, or 0 where it returns maps."""
    import torch

    with torch.no_grad(), _beside(own.folder):
        outputs = _guarded(f"{own.name} on a 1x3x{size[0]}x{size[1]} input", lambda: module(torch.zeros(1, 3, *size)))
    if isinstance(outputs, torch.Tensor) and outputs.ndim == 2:
        return outputs.shape[1]
    is_maps = isinstance(outputs, list | tuple) and all(isinstance(out, torch.Tensor) for out in outputs)
    if not is_maps or not outputs:
        raise BadInputError(
            f"{own.name} returns neither logits (batch, classes) nor a list of tensors.",
            hint="Wrap the model in a module that returns one of them.",
            code="own_model",
        )
    return 0


def _model_card(
    own: OwnModel, module: nn.Module, card: OwnCard, preprocessing: Preprocessing, classes: int
) -> ModelCard:
    return ModelCard(
        name=own.name,
        family="own",
        title=card.title or own.name,
        paper=card.paper,
        license=card.license or "not stated",
        reconstruction=None,
        classifier="",
        size_multiple=1,
        fixed_size=False,
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=None,
        num_classes=classes,
        preprocessing=replace(preprocessing, input_size=card.input_size or preprocessing.input_size),
        published=Published(source=""),
        weights=MappingProxyType({}),
    )
