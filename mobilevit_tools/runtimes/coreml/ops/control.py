"""Branches, loops, lists and states."""

from __future__ import annotations

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.coreml.dtypes import BY_NAME

from .registry import Bodies, Labels, State, TensorList, Values, bounded, operator

MAX_LENGTH = 1 << 20
MAX_ROUNDS = 1 << 20
"""More than any model loops; a damaged condition may never become false."""


@operator("cond", bodies=2)
def _cond(pred: bool, bodies: Bodies) -> Values:
    return bodies[0]() if pred else bodies[1]()


@operator("while_loop", bodies=2)
def _while_loop(loop_vars: Values, bodies: Bodies) -> Values:
    proceeds, body = bodies
    for _ in range(MAX_ROUNDS):
        (answer,) = proceeds(*loop_vars)
        if not isinstance(answer, Tensor):
            raise TypeError("the condition of a loop is no truth value")
        if not bool(answer):
            return loop_vars
        loop_vars = body(*loop_vars)
    raise BadInputError(f"A while_loop operator runs more than {MAX_ROUNDS} rounds; stopped.")


@operator("make_list", ignored=("dynamic_length",))
def _make_list(elem_shape: Labels, init_length: int = 1, dtype: str = "fp32") -> TensorList:
    """A list of zeros; sizes that the program gives by name are known once something is written."""
    if init_length > MAX_LENGTH:
        raise BadInputError(f"A make_list operator asks for {init_length} elements.")
    shape = bounded(*(size if isinstance(size, int) else 0 for size in elem_shape))
    return [torch.zeros(shape, dtype=BY_NAME[dtype].carrier)] * init_length


@operator("list_length")
def _list_length(ls: TensorList) -> Tensor:
    return torch.tensor(len(ls))


@operator("list_read")
def _list_read(ls: TensorList, index: int) -> Tensor:
    return ls[index]


@operator("list_write")
def _list_write(ls: TensorList, index: int, value: Tensor) -> TensorList:
    """A list with one other element; it grows where the index lies past its end."""
    if not 0 <= index < MAX_LENGTH:
        raise BadInputError(f"A list operator writes at index {index}.")
    grown = ls + [torch.zeros_like(value)] * (index + 1 - len(ls))
    grown[index] = value
    return grown


@operator("list_gather")
def _list_gather(ls: TensorList, indices: Tensor) -> Tensor:
    return torch.stack([ls[index] for index in indices.reshape(-1).tolist()])


@operator("list_scatter")
def _list_scatter(ls: TensorList, indices: Tensor, value: Tensor) -> TensorList:
    for index, element in zip(indices.reshape(-1).tolist(), value, strict=True):
        ls = _list_write(ls, index, element)
    return ls


@operator("read_state")
def _read_state(input: State) -> Tensor:  # noqa: A002 - the parameter's name in programs
    return input.value


@operator("write_state")
def _write_state(input: State, data: Tensor) -> Values:  # noqa: A002 - the parameter's name in programs
    if data.shape != input.value.shape:
        raise BadInputError(f"A state of shape {tuple(input.value.shape)} is given values of {tuple(data.shape)}.")
    input.value = data
    return ()
