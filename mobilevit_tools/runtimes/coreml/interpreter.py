"""Execute a program operator by operator on torch, with a choice of arithmetic.

Every operator computes in float32, whatever the arithmetic, so sums inside a convolution or a matrix product are wider
than a half-precision accumulator. The arithmetic decides what is rounded to fp16 *between* operators: it models the
conversion, not the Neural Engine bit by bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError, UsageError, first_line
from mobilevit_tools.half import half
from mobilevit_tools.runtimes._base import UnsupportedOperatorError

from .binding import Binder, Body, Made, Step, unfit
from .constexpr import decompress, unsupported
from .damage import UNFIT
from .mil import Graph, Operation, ValueType
from .ops import OPERATORS, Kind, State, Value, plain

Arithmetic = Literal["fp32", "half", "as-typed"]
ARITHMETICS: tuple[Arithmetic, ...] = ("fp32", "half", "as-typed")

Observer = Callable[[str, str, str, Tensor], None]
"""Called with operation name, operator type, output name and the value as computed, before any rounding to fp16."""


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
        missing = {entry.type for entry in graph.walk()} - set(OPERATORS)
        self.unsupported = tuple(sorted(missing | unsupported(graph.compressed)))

    @cached_property
    def _exact_binder(self) -> Binder:
        return Binder(self._graph, self._constants, rounded=False)

    @cached_property
    def _half_binder(self) -> Binder:
        return Binder(self._graph, self._constants, rounded=True)

    @cached_property
    def _exact_body(self) -> Body:
        return self._exact_binder.body(self._graph)

    @cached_property
    def _half_body(self) -> Body:
        return self._half_binder.body(self._graph)

    def run(
        self,
        inputs: Mapping[str, Tensor | State],
        arithmetic: Arithmetic,
        fetch: Collection[str] = (),
        observe: Observer | None = None,
        keep_fp32: Collection[str] = frozenset(),
    ) -> dict[str, Value]:
        """Run the program once.

        Args:
            inputs: Every input by name; numbers in float32. States are changed in place.
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
        self._check_names(wanted, keep_fp32)
        binder = self._half_binder if arithmetic == "half" else self._exact_binder
        returned = self._returned_constants | (wanted & self._constants.keys())
        constants = {name: binder.tensor(self._constants[name]) for name in returned}
        body = self._half_body if arithmetic == "half" else self._exact_body
        run = _Run(constants, arithmetic, keep_fp32, observe)
        run.enter(inputs, self._graph.inputs)
        with torch.inference_mode():
            run.steps(body, self._exact_body, wanted)
        return {name: run.value(name) for name in wanted}

    def _check_names(self, wanted: Collection[str], keep_fp32: Collection[str]) -> None:
        if unknown := sorted(set(wanted) - self._known - self._constants.keys()):
            raise BadInputError(f"The program has no value named {unknown[0]!r}.")
        if keep_fp32 and (missing := sorted(set(keep_fp32) - {entry.name for entry in self._graph.walk()})):
            raise UsageError(f"The program has no operation named {missing[0]!r} to keep in fp32.")

    @cached_property
    def _known(self) -> frozenset[str]:
        """Names of the values that can be returned: those outside of inner blocks."""
        made = (name for operation in self._graph.operations for name, _ in operation.outputs)
        return frozenset((*self._graph.inputs, *made))

    @cached_property
    def _returned_constants(self) -> frozenset[str]:
        """Constants that the program or one of its blocks returns."""
        blocks = [block for operation in self._graph.walk() for block in operation.blocks]
        return frozenset(name for block in (self._graph, *blocks) for name in block.outputs) & self._constants.keys()

    @property
    def counts(self) -> dict[str, int]:
        """How often each operator type occurs, constants aside."""
        return dict(sorted(Counter(operation.type for operation in self._graph.walk()).items()))


class _Run:
    """The values of one run, and where they are rounded.

    A value that an operation of ``keep_fp32`` (or the caller) produced stays wide; operations outside of it read it
    rounded, as they would through the cast that the converter puts there.
    """

    def __init__(
        self,
        constants: Mapping[str, Tensor],
        arithmetic: Arithmetic,
        keep_fp32: Collection[str],
        observe: Observer | None,
    ) -> None:
        self._values: dict[str, Value] = {}
        self._constants = constants
        self._arithmetic = arithmetic
        self._keep = keep_fp32
        self._observe = observe
        self._wide: dict[str, Tensor | None] = {}

    def enter(self, inputs: Mapping[str, Value], types: Mapping[str, ValueType]) -> None:
        """Take the program's inputs, of which operations read what the arithmetic leaves of them."""
        self._values.update(inputs)
        if self._arithmetic != "fp32":
            rounds_all = self._arithmetic == "half"
            self._wide.update((name, None) for name in inputs if rounds_all or types[name].element.name == "fp16")

    def value(self, name: str) -> Value:
        """A value as it was made; a constant where a block returns one."""
        return self._values[name] if name in self._values else self._constants[name]

    def steps(self, body: Body, exact: Body, wanted: Collection[str] = ()) -> None:
        """Run a block whose inputs are there, and forget what it needs no more.

        Args:
            body: The block.
            exact: The same block with unrounded constants, for the operations of ``keep_fp32``.
            wanted: Values to remember.
        """
        for step, unrounded in zip(body.steps, exact.steps, strict=True):
            self._execute(unrounded if step.operation.name in self._keep else step, unrounded)
            for name in step.last:
                if name not in wanted:
                    del self._values[name]

    def _inner(self, body: Body, exact: Body) -> Callable[..., tuple[Value, ...]]:
        """A block of a loop or a branch as a function of its inputs."""

        def call(*given: Value) -> tuple[Value, ...]:
            self._values.update(zip(body.inputs, given, strict=True))
            self.steps(body, exact)
            results = tuple(self.value(name) for name in body.outputs)
            for name in own & self._values.keys():
                del self._values[name]
            return results

        own = {*body.inputs, *(name for step in body.steps for name, _ in step.operation.outputs)}
        return call

    def _read(self, name: str, *, wide: bool) -> Value:
        value = self._values[name]
        if wide or name not in self._wide or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        rounded = self._wide[name]
        if rounded is None:
            rounded = self._wide[name] = half(value)
        return rounded

    def _execute(self, step: Step, exact: Step) -> None:
        operation = step.operation
        kept = operation.name in self._keep
        try:
            given = {name: self._given(name, kind, sources, wide=kept) for name, kind, sources in step.wired}
            if step.bodies:
                given["bodies"] = tuple(self._inner(*pair) for pair in zip(step.bodies, exact.bodies, strict=True))
            result = step.operator.function(**step.fixed, **given)
        except UNFIT as error:  # not `refusing`, whose sentence would be written for every operation
            raise BadInputError(f"{unfit(operation)}: {first_line(error)}") from error
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(step.made):
            raise BadInputError(
                f"The operation {operation.name!r} ({operation.type}) declares {len(step.made)} outputs "
                f"and has {len(results)}."
            )
        for made, value in zip(step.made, results, strict=True):
            self._store(operation, made, value, kept=kept)

    def _given(self, parameter: str, kind: Kind, sources: tuple[str | Tensor, ...], *, wide: bool) -> object:
        if kind == "tensor":
            (source,) = sources
            value = self._read(source, wide=wide) if isinstance(source, str) else source
            if isinstance(value, Tensor):
                return value
            raise TypeError(f"{parameter} is no tensor")
        values = [self._read(entry, wide=wide) if isinstance(entry, str) else entry for entry in sources]
        if kind == "values":
            return tuple(values)
        if kind in _CONTAINERS:
            if not isinstance(values[0], _CONTAINERS[kind]):
                raise TypeError(f"{parameter} is no {kind}")
            return values[0]
        tensors = [value for value in values if isinstance(value, Tensor)]
        if len(tensors) != len(values):
            raise TypeError(f"{parameter} is no tensor")
        if kind == "tensors":
            return tuple(tensors)
        return plain(kind, tensors[0] if len(tensors) == 1 else torch.stack(tensors))

    def _store(self, operation: Operation, made: Made, value: object, *, kept: bool) -> None:
        name, declared = made.name, made.declared
        if not isinstance(value, Tensor):
            self._values[name] = value  # type: ignore[assignment]
            return
        if value.shape != declared.shape and not declared.admits(value.shape):
            raise BadInputError(
                f"The operation {operation.name!r} ({operation.type}) makes a value of shape {tuple(value.shape)} "
                f"where the program says {declared.shape}."
            )
        if value.dtype is not made.carrier:
            value = value.to(made.carrier)
        if made.is_float:
            if self._observe is not None:
                self._observe(operation.name, operation.type, name, value)
            if self._arithmetic == "half" or (self._arithmetic == "as-typed" and made.is_half):
                if kept:
                    self._wide[name] = None
                else:
                    value = half(value)
        self._values[name] = value


_CONTAINERS: Mapping[str, type] = {"list": list, "state": State}
