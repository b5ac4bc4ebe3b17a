"""Execute a program operator by operator on torch, with a choice of arithmetic.

Every operator computes in float32, whatever the arithmetic, so sums inside a convolution or a matrix product are wider
than a half-precision accumulator. The arithmetic decides what is rounded to fp16 *between* operators: it models the
conversion, not the Neural Engine bit by bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.runtimes._base import UnsupportedOperatorError

from .constexpr import decompress, unsupported
from .damage import refusing
from .dtypes import half, half_scalar
from .mil import Argument, Constant, Graph, Operation, ValueType
from .ops import OPERATORS, Kind, Operator, plain

Arithmetic = Literal["fp32", "half", "as-typed"]
ARITHMETICS: tuple[Arithmetic, ...] = ("fp32", "half", "as-typed")

Value = Tensor | str | int | dict[str | int, float]
"""What a name stands for while a program runs: a tensor, or one of a classifier's two answers."""

Observer = Callable[[str, str, str, Tensor], None]
"""Called with operation name, operator type, output name and the value as computed, before any rounding to fp16."""


@dataclass(frozen=True)
class _Step:
    """One operation, bound to its constants.

    Attributes:
        operation: The operation.
        operator: Its entry in the table of operators.
        fixed: Parameters whose value is known.
        wired: Parameters that wait for values: name of the parameter, and for each argument a value's name or a tensor.
        last: Names that no later operation reads.
    """

    operation: Operation
    operator: Operator
    fixed: Mapping[str, object]
    wired: tuple[tuple[str, tuple[str | Tensor, ...]], ...]
    last: tuple[str, ...]


class Interpreter:
    """A program with its constants decoded, ready to run any number of times.

    Args:
        graph: The program.

    Raises:
        BadInputError: A compressed weight is damaged, or the program reads a value that nothing produces.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._constants = decompress(graph)
        self._tensors: dict[tuple[int, bool], Tensor] = {}
        missing = {entry.type for entry in graph.operations if entry.has_blocks or entry.type not in OPERATORS}
        missing |= unsupported(graph.compressed)
        missing |= {"state" for value in graph.inputs.values() if value.container == "state"}
        self.unsupported = tuple(sorted(missing))
        self._types = dict(graph.inputs)
        for operation in graph.operations:
            self._types.update(operation.outputs)
        self._last = self._last_reads()

    def _last_reads(self) -> list[tuple[str, ...]]:
        seen = set(self._graph.outputs)
        last: list[tuple[str, ...]] = []
        for operation in reversed(self._graph.operations):
            names = {name for name, _ in operation.outputs}
            for arguments in operation.inputs.values():
                names.update(argument for argument in arguments if isinstance(argument, str))
            last.append(tuple(names - seen - set(self._constants)))
            seen |= names
        return last[::-1]

    @cached_property
    def _exact_steps(self) -> tuple[_Step, ...]:
        return tuple(self._bind(rounded=False))

    @cached_property
    def _half_steps(self) -> tuple[_Step, ...]:
        return tuple(self._bind(rounded=True))

    def _bind(self, *, rounded: bool) -> Iterable[_Step]:
        produced = set(self._graph.inputs)
        for operation, last in zip(self._graph.operations, self._last, strict=True):
            operator = OPERATORS[operation.type]
            fixed: dict[str, object] = {}
            wired: list[tuple[str, tuple[str | Tensor, ...]]] = []
            for parameter, arguments in operation.inputs.items():
                if parameter in operator.ignored:
                    continue
                if parameter not in operator.kinds or not arguments:
                    raise self._broken(operation, f"has the unknown or empty parameter {parameter!r}")
                if operator.kinds[parameter] == "tensor" and len(arguments) > 1:
                    raise self._broken(operation, f"is given several values for {parameter!r}")
                resolved = [self._resolve(operation, argument, produced) for argument in arguments]
                constants = [value for value in resolved if isinstance(value, Constant)]
                with refusing(_unfit(operation)):
                    if len(constants) == len(resolved):
                        fixed[parameter] = self._fixed(operation, operator.kinds[parameter], constants, rounded=rounded)
                    else:
                        sources = (
                            self._tensor(value, rounded=rounded) if isinstance(value, Constant) else value
                            for value in resolved
                        )
                        wired.append((parameter, tuple(sources)))
            absent = operator.required - set(fixed) - {parameter for parameter, _ in wired}
            if absent:
                raise self._broken(operation, f"lacks the parameter {sorted(absent)[0]!r}")
            for name, _ in operation.outputs:
                if name in produced or name in self._constants:
                    raise self._broken(operation, f"makes {name!r} a second time")
                produced.add(name)
            yield _Step(operation, operator, fixed, tuple(wired), last)

    def _resolve(self, operation: Operation, argument: Argument, produced: Collection[str]) -> str | Constant:
        if isinstance(argument, Constant) or argument in produced:
            return argument
        if argument not in self._constants:
            raise self._broken(operation, f"reads {argument!r}, which nothing before it produces")
        return self._constants[argument]

    def _fixed(self, operation: Operation, kind: Kind, constants: list[Constant], *, rounded: bool) -> object:
        first = constants[0]
        if kind == "labels":
            return tuple(first.value.reshape(-1).tolist())
        if kind == "string":
            return str(first.value.reshape(-1)[0])
        if first.element.storage is None:
            raise self._broken(operation, f"is given text where {operation.type} takes numbers")
        tensors = tuple(self._tensor(constant, rounded=rounded) for constant in constants)
        if kind == "tensors":
            return tensors
        if kind == "tensor":
            return tensors[0]
        if kind == "float" and rounded:
            return half_scalar(float(first.value.reshape(-1)[0]))
        return plain(kind, tensors[0] if len(tensors) == 1 else torch.stack(tensors))

    def _tensor(self, constant: Constant, *, rounded: bool) -> Tensor:
        rounded = rounded and constant.element.name in {"fp32", "fp64"}
        key = (id(constant.value), rounded)
        if key not in self._tensors:
            tensor = torch.from_numpy(constant.value.copy()).to(constant.element.carrier)
            self._tensors[key] = half(tensor) if rounded else tensor
        return self._tensors[key]

    def _broken(self, operation: Operation, what: str) -> BadInputError:
        return BadInputError(f"The program is damaged: its operation {operation.name!r} {what}.")

    def run(
        self,
        inputs: Mapping[str, Tensor],
        arithmetic: Arithmetic,
        fetch: Collection[str] = (),
        observe: Observer | None = None,
        keep_fp32: Collection[str] = frozenset(),
    ) -> dict[str, Value]:
        """Run the program once.

        Args:
            inputs: Every input by name; numbers in float32.
            arithmetic: What is rounded to fp16: nothing, everything, or what the program's types say.
            fetch: Further values to return.
            observe: Called for every real-valued result.
            keep_fp32: Names of operations that read and write unrounded values and weights.

        Returns:
            The program's outputs and the fetched values.

        Raises:
            UnsupportedOperatorError: The runtime lacks operators of this program.
            BadInputError: An operator cannot compute with what it is given, or a fetched value does not exist.
            UsageError: ``keep_fp32`` names an operation that does not exist.
        """
        if self.unsupported:
            raise UnsupportedOperatorError(self.unsupported)
        wanted = {*self._graph.outputs, *fetch}
        unknown = sorted(wanted - set(self._types))
        if unknown:
            raise BadInputError(f"The program has no value named {unknown[0]!r}.")
        missing = sorted(set(keep_fp32) - {operation.name for operation in self._graph.operations})
        if missing:
            raise UsageError(f"The program has no operation named {missing[0]!r} to keep in fp32.")
        run = _Run(self._types, arithmetic, keep_fp32, observe)
        run.enter(inputs)
        half_steps = self._half_steps if arithmetic == "half" else self._exact_steps
        with torch.inference_mode():
            for rounded, exact in zip(half_steps, self._exact_steps, strict=True):
                step = exact if exact.operation.name in keep_fp32 else rounded
                run.execute(step)
                for name in step.last:
                    if name not in wanted:
                        del run.values[name]
        return {name: run.values[name] for name in wanted}

    @property
    def counts(self) -> dict[str, int]:
        """How often each operator type occurs, constants aside."""
        return dict(sorted(Counter(operation.type for operation in self._graph.operations).items()))


class _Run:
    """The values of one run, and where they are rounded.

    A value that an operation of ``keep_fp32`` (or the caller) produced stays wide; operations outside of it read it
    rounded, as they would through the cast that the converter puts there.
    """

    def __init__(
        self,
        types: Mapping[str, ValueType],
        arithmetic: Arithmetic,
        keep_fp32: Collection[str],
        observe: Observer | None,
    ) -> None:
        self.values: dict[str, Value] = {}
        self._types = types
        self._arithmetic = arithmetic
        self._keep = keep_fp32
        self._observe = observe
        self._wide: dict[str, Tensor | None] = {}

    def _rounds(self, name: str) -> bool:
        declared = self._types[name].element.name
        return self._arithmetic == "half" or (self._arithmetic == "as-typed" and declared == "fp16")

    def enter(self, inputs: Mapping[str, Tensor]) -> None:
        self.values.update(inputs)
        self._wide.update((name, None) for name in inputs if self._rounds(name))

    def _read(self, name: str, *, wide: bool) -> Value:
        value = self.values[name]
        if wide or name not in self._wide or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        rounded = self._wide[name]
        if rounded is None:
            rounded = self._wide[name] = half(value)
        return rounded

    def execute(self, step: _Step) -> None:
        operation = step.operation
        kept = operation.name in self._keep
        with refusing(_unfit(operation)):
            given = {parameter: self._given(step, parameter, sources, wide=kept) for parameter, sources in step.wired}
            result = step.operator.function(**step.fixed, **given)
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(operation.outputs):
            raise BadInputError(
                f"The operation {operation.name!r} ({operation.type}) declares {len(operation.outputs)} outputs "
                f"and has {len(results)}."
            )
        for (name, declared), value in zip(operation.outputs, results, strict=True):
            self._store(operation, name, declared, value, kept=kept)

    def _given(self, step: _Step, parameter: str, sources: tuple[str | Tensor, ...], *, wide: bool) -> object:
        kind = step.operator.kinds[parameter]
        values = [self._read(entry, wide=wide) if isinstance(entry, str) else entry for entry in sources]
        tensors = [value for value in values if isinstance(value, Tensor)]
        if len(tensors) != len(values):
            raise TypeError(f"{parameter} is a classifier's answer and not a tensor")
        if kind == "tensors":
            return tuple(tensors)
        if kind == "tensor":
            return tensors[0]
        return plain(kind, tensors[0] if len(tensors) == 1 else torch.stack(tensors))

    def _store(self, operation: Operation, name: str, declared: ValueType, value: object, *, kept: bool) -> None:
        if not isinstance(value, Tensor):
            self.values[name] = value  # type: ignore[assignment]
            return
        if len(value.shape) != len(declared.shape) or any(
            size not in (None, actual) for size, actual in zip(declared.shape, value.shape, strict=True)
        ):
            raise BadInputError(
                f"The operation {operation.name!r} ({operation.type}) makes a value of shape {tuple(value.shape)} "
                f"where the program says {declared.shape}."
            )
        value = value.to(declared.element.carrier)
        if declared.element.is_float:
            if self._observe is not None:
                self._observe(operation.name, operation.type, name, value)
            if self._rounds(name):
                if kept:
                    self._wide[name] = None
                else:
                    value = half(value)
        self.values[name] = value


def _unfit(operation: Operation) -> str:
    return f"The operation {operation.name!r} ({operation.type}) cannot compute with what it is given"
