"""From whatever a model returns to tensors with names: a dict's keys, a dataclass's fields, places in a list.

Artifacts have tensors in an order as outputs, and nothing else. Names are the model's own where it has some.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor, nn

from mobilevit_tools.data.contract import INPUT_NAME
from mobilevit_tools.errors import BadInputError

LOGITS = "logits"
_BY_RANK = {3: "tokens", 4: "map"}
"""What a single output that has no name is called by its rank, where it is no vector."""
_RETURNED = frozenset(
    {torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
)
"""Element types that every target can return, and NumPy can hold."""
_WRAP = "Wrap the model in a module that returns only tensors."


@dataclass(frozen=True)
class Outputs:
    """What a model returned for one image.

    Attributes:
        tensors: The tensors, in order.
        names: Their names, all different, of letters, digits and underscores; empty where what they are says it all:
            logits, an embedding, or a list of maps.
        classes: How many classes the first one has; 0 where it is none of scores. Among several, it is where the model
            calls it logits.
        plain: Whether it returned a tensor or a flat list of tensors, which exporters take as it is.
    """

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...]
    classes: int
    plain: bool


def read_outputs(name: str, value: object) -> Outputs:
    """Name the tensors that a model returned for one image; None among them stands for nothing.

    Args:
        name: The model's name, for errors.
        value: What it returned.

    Raises:
        BadInputError: There is no tensor, or something else, or one that cannot be an output of an artifact.
    """
    found = [(path, leaf) for path, leaf in _leaves(value, ()) if leaf is not None]
    if not found:
        raise BadInputError(f"{name} returns {described(value)}, and no tensor.", hint=_WRAP, code="own_model")
    for path, leaf in found:
        _check(f"{_in_words(path)} of {name}", leaf)
    tensors = tuple(leaf for _, leaf in found if isinstance(leaf, Tensor))
    first = tensors[0]
    vector = first.ndim == 2 and first.is_floating_point()
    if isinstance(value, Tensor):
        return Outputs(tensors, () if vector else (_BY_RANK.get(first.ndim, "output"),), first.shape[1] * vector, True)
    if all(len(path) == 1 and isinstance(path[0], int) for path, _ in found) and not isinstance(value, Mapping):
        return Outputs(tensors, (), 0, all(isinstance(each, Tensor) for each in _listed(value)))
    names = _unique([_joined(path) for path, _ in found])
    scores = vector and (len(tensors) == 1 or names[0] == LOGITS)
    return Outputs(tensors, names, first.shape[1] * scores, False)


def only_tensors(module: nn.Module) -> None:
    """Let a module return what :func:`read_outputs` finds in its answer: one tensor, or a tuple of tensors."""
    module.register_forward_hook(_flattened)


def _flattened(_module: nn.Module, _inputs: object, outputs: object) -> object:
    tensors = tensors_in(outputs)
    return tensors[0] if len(tensors) == 1 else tensors


def tensors_in(value: object) -> tuple[Tensor, ...]:
    """Return the tensors in what a model returned, in order."""
    return tuple(leaf for _, leaf in _leaves(value, ()) if isinstance(leaf, Tensor))


def _leaves(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield what is inside of containers, with the keys, fields and places that lead to it."""
    inside: list[tuple[str | int, object]]
    if isinstance(value, Mapping):  # before dataclasses: Hugging Face's outputs are both
        inside = [(key if isinstance(key, int) else str(key), each) for key, each in value.items()]
    elif is_dataclass(value) and not isinstance(value, type):
        inside = [(field.name, getattr(value, field.name)) for field in fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        inside = list(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        inside = list(enumerate(value))
    else:
        yield path, value
        return
    for key, each in inside:
        yield from _leaves(each, (*path, key))


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else ()


def _in_words(path: tuple[str | int, ...]) -> str:
    if not path:
        return "The output"
    if len(path) == 1 and isinstance(path[0], int):
        return f"Output {path[0] + 1}"
    return f"Output {'.'.join(map(str, path))}"


def _joined(path: tuple[str | int, ...]) -> str:
    name = re.sub(r"\W", "_", "_".join(map(str, path)), flags=re.ASCII)
    return name if name[:1].isalpha() else f"output_{name.lstrip('_')}"


def _unique(names: list[str]) -> tuple[str, ...]:
    """Tell outputs of one name apart, from each other and from the input."""
    taken, unique = {INPUT_NAME}, []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        unique.append(candidate)
    return tuple(unique)


def _check(what: str, value: object) -> None:
    problem, hint = None, _WRAP
    if not isinstance(value, Tensor):
        problem = f"is {described(value)}, not a tensor"
    elif value.layout is not torch.strided:
        problem, hint = "is a sparse tensor", "Return a dense tensor: y.to_dense()."
    elif not value.numel():
        problem, hint = f"is empty ({_shape(value)})", "Do not return it."
    elif value.dtype not in _RETURNED:
        problem = f"is of type {str(value.dtype).removeprefix('torch.')}"
        hint = "Return y.float(), or real and imaginary parts with torch.view_as_real(y)."
    elif not value.ndim or value.shape[0] != 1:
        problem = f"has the shape {_shape(value)} for one image; the first dimension must be the batch"
        hint = "Keep the batch as the first dimension: use x.flatten(1) and do not squeeze it."
    if problem:
        raise BadInputError(f"{what} {problem}.", hint=hint, code="own_model")


def described(value: object) -> str:
    """Say in words what somebody's function returned."""
    if isinstance(value, Tensor):
        return f"a tensor of {_shape(value)}, {str(value.dtype).removeprefix('torch.')}"
    if value is None:
        return "None"
    kind = type(value).__name__
    if isinstance(value, list | tuple | Mapping) and not value:
        return f"an empty {kind}"
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a scalar"
