"""The table of operators: a function per operator type, whose signature says how each parameter is given to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from types import MappingProxyType, NoneType
from typing import Literal, NewType, TypeVar, get_args, get_type_hints

from torch import Tensor

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml.mil import MAX_ELEMENTS

Tensors = tuple[Tensor, ...]
Ints = tuple[int, ...]
Bools = tuple[bool, ...]
Labels = tuple[str, ...] | tuple[int, ...]
TensorList = list[Tensor]
Scale = NewType("Scale", float)
"""A number that sizes follow from; no arithmetic rounds it."""


@dataclass
class State:
    """A value that a program keeps between two runs."""

    value: Tensor


Value = Tensor | TensorList | State | str | int | dict[str | int, float]
"""What a name stands for while a program runs: a tensor, a list of them, a state, or a classifier's two answers."""

Values = tuple[Value, ...]
Bodies = tuple[Callable[..., Values], ...]
"""The inner programs of an operation, to be called with their inputs."""

Kind = Literal[
    "tensor",
    "tensors",
    "int",
    "float",
    "scale",
    "bool",
    "string",
    "ints",
    "bools",
    "labels",
    "list",
    "state",
    "values",
    "bodies",
]

_KINDS: Mapping[object, Kind] = {
    Tensor: "tensor",
    Tensors: "tensors",
    int: "int",
    float: "float",
    Scale: "scale",
    bool: "bool",
    str: "string",
    Ints: "ints",
    Bools: "bools",
    Labels: "labels",
    TensorList: "list",
    State: "state",
    Values: "values",
    Bodies: "bodies",
}


@dataclass(frozen=True)
class Operator:
    """How to compute one operator type.

    Attributes:
        type: Its name in programs.
        function: Takes the parameters by name and returns a tensor, or a tuple with one value for each output.
            Real-valued tensors arrive and leave as float32, integers as int32 (or int64), truth values as bool.
        kinds: What each parameter is given as: a tensor, a tuple of tensors, plain Python values, or what loops, lists
            and states work on.
        bodies: How many inner programs it has.
        required: Parameters without a default.
        ignored: Parameters that programs may give and that change nothing here: element types, which the declared
            types of the results say already, and freedoms that an implementation may take or leave.
        laid_out: Parameters whose constants are given another layout in memory once, when a program is loaded.
    """

    type: str
    function: Callable[..., object]
    kinds: Mapping[str, Kind]
    bodies: int
    required: frozenset[str]
    ignored: frozenset[str]
    laid_out: Mapping[str, Callable[[Tensor], Tensor]]


OPERATORS: dict[str, Operator] = {}
_Function = TypeVar("_Function", bound=Callable[..., object])


def operator(
    *types: str,
    ignored: Iterable[str] = (),
    bodies: int = 0,
    laid_out: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
) -> Callable[[_Function], _Function]:
    """Register a function for operator types; its annotations and defaults are the parameters' kinds and defaults."""

    def register(function: _Function) -> _Function:
        hints = get_type_hints(function)
        parameters = signature(function).parameters
        kinds = {name: _kind(hints[name]) for name in parameters}
        required = frozenset(
            name for name, entry in parameters.items() if entry.default is Parameter.empty and kinds[name] != "bodies"
        )
        for name in types:
            OPERATORS[name] = Operator(name, function, kinds, bodies, required, frozenset(ignored), laid_out)
        return function

    return register


def _kind(hint: object) -> Kind:
    if hint not in _KINDS and NoneType in get_args(hint):
        (hint,) = (entry for entry in get_args(hint) if entry is not NoneType)
    return _KINDS[hint]


def plain(kind: Kind, tensor: Tensor) -> object:
    """A tensor's values as the plain Python values that a parameter of this kind wants."""
    if kind == "int":
        return int(tensor)
    if kind in {"float", "scale"}:
        return float(tensor)
    if kind == "bool":
        return bool(tensor)
    values = tensor.reshape(-1).tolist()
    return tuple(bool(value) for value in values) if kind == "bools" else tuple(int(value) for value in values)


def bounded(*sizes: int) -> Ints:
    """Hand sizes through, unless a value of these sizes would be larger than any model's.

    Raises:
        BadInputError: The sizes ask for more than ``MAX_ELEMENTS`` elements or are negative.
    """
    if any(size < 0 for size in sizes) or math.prod(size for size in sizes if size) > MAX_ELEMENTS:
        raise BadInputError(f"An operator asks for a value of shape {tuple(sizes)}, which is too large.")
    return tuple(sizes)


def axes_of(axes: Ints | None, rank: int) -> Ints:
    """Axes counted from the front; all of them where none are given."""
    return tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)


def channelwise(values: Tensor, rank: int) -> Tensor:
    """Shape a vector of one value per channel so that it broadcasts over (N, C, ...)."""
    return values.reshape(-1, *[1] * (rank - 2))
