"""Bind a program's operations to their operators and constants, once for each choice of rounding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.half import half, half_scalar

from .damage import refusing
from .mil import Argument, Block, Constant, Graph, Operation, ValueType
from .ops import OPERATORS, Kind, Operator, plain


@dataclass(frozen=True)
class Made:
    """One result of an operation, with what is asked of its type in every run.

    Attributes:
        name: Its name.
        declared: Its type.
        carrier: The torch type that carries it.
        is_float: Whether it is real-valued.
        is_half: Whether its type is fp16.
    """

    name: str
    declared: ValueType
    carrier: torch.dtype
    is_float: bool
    is_half: bool


@dataclass(frozen=True)
class Step:
    """One operation, bound to its constants.

    Attributes:
        operation: The operation.
        operator: Its entry in the table of operators.
        fixed: Parameters whose value is known.
        wired: Parameters that wait for values: name, kind, and for each argument a value's name or a tensor.
        made: Its results.
        last: Names that no later operation reads.
        bodies: Its inner programs.
    """

    operation: Operation
    operator: Operator
    fixed: Mapping[str, object]
    wired: tuple[tuple[str, Kind, tuple[str | Tensor, ...]], ...]
    made: tuple[Made, ...]
    last: tuple[str, ...]
    bodies: tuple[Body, ...]


@dataclass(frozen=True)
class Body:
    """A block of bound operations.

    Attributes:
        inputs: Names of its inputs, in order.
        steps: Its operations in order of execution.
        outputs: Names of what it returns.
    """

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]


class Binder:
    """Binds blocks.

    Args:
        graph: The program, all of whose operators the runtime has.
        constants: Its constants, decompressed.
        rounded: Whether constants of real numbers are rounded to fp16.
    """

    def __init__(self, graph: Graph, constants: Mapping[str, Constant], *, rounded: bool) -> None:
        self._constants = constants
        self._rounded = rounded
        self._tensors: dict[int, Tensor] = {}
        self._made = set(graph.inputs)

    def tensor(self, constant: Constant) -> Tensor:
        """A constant's values; the same tensor whenever it is asked for the same constant."""
        key = id(constant.value)
        if key not in self._tensors:
            tensor = torch.from_numpy(constant.value.copy()).to(constant.element.carrier)
            rounds = self._rounded and constant.element.name in {"fp32", "fp64"}
            self._tensors[key] = half(tensor) if rounds else tensor
        return self._tensors[key]

    def body(self, block: Block) -> Body:
        """Bind a block.

        Raises:
            BadInputError: An operation lacks a parameter, has one too many, or reads or makes the wrong values.
        """
        self._made.update(block.inputs)
        last = _last_reads(block)
        steps = tuple(self._step(operation, names) for operation, names in zip(block.operations, last, strict=True))
        return Body(tuple(block.inputs), steps, block.outputs)

    def _step(self, operation: Operation, last: tuple[str, ...]) -> Step:
        operator = OPERATORS[operation.type]
        fixed: dict[str, object] = {}
        wired: list[tuple[str, Kind, tuple[str | Tensor, ...]]] = []
        for parameter, arguments in operation.inputs.items():
            if parameter in operator.ignored:
                continue
            kind = operator.kinds.get(parameter)
            if kind is None or kind == "bodies" or not (arguments or kind in _EMPTY):
                raise _broken(operation, f"has the unknown or empty parameter {parameter!r}")
            if kind == "tensor" and len(arguments) > 1:
                raise _broken(operation, f"is given several values for {parameter!r}")
            resolved = [self._resolve(operation, argument) for argument in arguments]
            constants = [value for value in resolved if isinstance(value, Constant)]
            with refusing(unfit(operation)):
                if len(constants) == len(resolved) and kind != "values":
                    if lay_out := operator.laid_out.get(parameter):
                        self._tensors[id(constants[0].value)] = lay_out(self.tensor(constants[0]))
                    fixed[parameter] = self._fixed(operation, kind, constants)
                else:
                    sources = (self.tensor(value) if isinstance(value, Constant) else value for value in resolved)
                    wired.append((parameter, kind, tuple(sources)))
        absent = operator.required - set(fixed) - {parameter for parameter, _, _ in wired}
        if absent:
            raise _broken(operation, f"lacks the parameter {sorted(absent)[0]!r}")
        bodies = tuple(self.body(block) for block in operation.blocks)
        if len(bodies) != operator.bodies:
            raise _broken(operation, f"has {len(bodies)} inner programs and not {operator.bodies}")
        for name, _ in operation.outputs:
            if name in self._made or name in self._constants:
                raise _broken(operation, f"makes {name!r} a second time")
            self._made.add(name)
        made = tuple(map(_made, operation.outputs))
        return Step(operation, operator, fixed, tuple(wired), made, last, bodies)

    def _resolve(self, operation: Operation, argument: Argument) -> str | Constant:
        if isinstance(argument, Constant) or argument in self._made:
            return argument
        if argument not in self._constants:
            raise _broken(operation, f"reads {argument!r}, which nothing before it produces")
        return self._constants[argument]

    def _fixed(self, operation: Operation, kind: Kind, constants: list[Constant]) -> object:
        if kind == "labels":
            return tuple(value for constant in constants for value in constant.value.reshape(-1).tolist())
        if kind in {"string", "scale"}:
            value = constants[0].value.reshape(-1)[0]
            return str(value) if kind == "string" else value
        if any(constant.element.storage is None for constant in constants):
            raise _broken(operation, f"is given text where {operation.type} takes numbers")
        tensors = tuple(self.tensor(constant) for constant in constants)
        if kind == "tensors":
            return tensors
        if kind == "tensor":
            return tensors[0]
        if kind == "float" and self._rounded:
            return half_scalar(float(constants[0].value.reshape(-1)[0]))
        return plain(kind, tensors[0] if len(tensors) == 1 else torch.stack(tensors))


_EMPTY = frozenset({"labels", "values"})
"""Kinds of parameters that may come without any argument: the shape of a scalar, a loop without values."""


def _made(output: tuple[str, ValueType]) -> Made:
    name, declared = output
    element = declared.element
    return Made(name, declared, element.carrier, element.is_float, element.name == "fp16")


def _last_reads(block: Block) -> list[tuple[str, ...]]:
    """For each operation of a block the block's own values that neither a later one nor the result needs."""
    own = {*block.inputs, *(name for operation in block.operations for name, _ in operation.outputs)}
    seen = set(block.outputs)
    last: list[tuple[str, ...]] = []
    for operation in reversed(block.operations):
        names = (set(_reads(operation)) | {name for name, _ in operation.outputs}) & own
        last.append(tuple(names - seen))
        seen |= names
    return last[::-1]


def _reads(operation: Operation) -> Iterable[str]:
    for arguments in operation.inputs.values():
        yield from (argument for argument in arguments if isinstance(argument, str))
    for block in operation.blocks:
        yield from block.outputs
        for inner in block.operations:
            yield from _reads(inner)


def _broken(operation: Operation, what: str) -> BadInputError:
    return BadInputError(f"The program is damaged: its operation {operation.name!r} {what}.")


def unfit(operation: Operation) -> str:
    """How an error begins that says an operation's arguments do not fit it."""
    return f"The operation {operation.name!r} ({operation.type}) cannot compute with what it is given"
