"""Load a Core ML package and run it anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mobilevit_tools.errors import BadInputError, UsageError

from .compiled import is_compiled, read_compiled
from .features import Feature, ModelDescription, describe
from .interpreter import ARITHMETICS, Arithmetic, Interpreter, Observer
from .mil import Constant, Graph, Operation, ValueType
from .ops import RANDOM, State, Value
from .package import open_package
from .pipeline import RUNNABLE, read_model, with_thresholds
from .refusals import refusals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Result = NDArray[Any] | str | int | dict[str | int, float]
    Memory = dict[str, NDArray[Any]]

_TRANSPARENT = frozenset({"cast", "identity", "fit_shape", "reshape", "squeeze", "expand_dims"})


class Program:
    """An ML Program that can be asked about and, where the runtime has all its operators, run.

    Attributes:
        path: Where it was loaded from.
        description: Kind, version and metadata of the model.
        graph: The program's operations and constants.
        inputs: Inputs in the model's order.
        outputs: Outputs in the model's order; a classifier's probabilities carry its labels.
        unsupported: Operator types that the runtime lacks; empty when the program can run.
        random: Operator types that draw random numbers, so that no two runtimes agree on them.
        refused: Why Core ML does not load the program, as far as that is known; empty when nothing speaks against it.
        operators: Operator type to count, constants excluded.
        metadata: ``author``, ``license``, ``version``, ``short_description`` and what the author added.
    """

    def __init__(self, path: Path, description: ModelDescription, graph: Graph) -> None:
        self.path = path
        self.description = description
        self.graph = graph
        self._interpreter = Interpreter(graph)
        self.unsupported = self._interpreter.unsupported
        self.random = tuple(sorted(RANDOM & set(self._interpreter.counts)))
        self.refused = refusals(graph)
        self.operators = self._interpreter.counts
        self.metadata = description.metadata
        self.inputs = description.inputs
        labels = self._labels()
        named = {entry.name: entry for entry in description.outputs}  # Core ML answers one value for each name
        self.outputs = tuple(
            replace(entry, labels=labels) if entry.kind == "probabilities" else entry for entry in named.values()
        )
        described = {entry.name for entry in (*self.inputs, *description.states)}
        unlike_inputs = described ^ set(graph.inputs)
        unlike_outputs = {entry.name for entry in self.outputs} - set(graph.outputs)
        for kind, names in (("input", unlike_inputs), ("output", unlike_outputs)):
            if names:
                raise BadInputError(
                    f"{path.name} is damaged: its description and its program disagree on an {kind} {min(names)!r}."
                )

    def _labels(self) -> tuple[str, ...] | tuple[int, ...]:
        for operation in self.graph.operations:
            if operation.type == "classify":
                classes = _argument(operation, "classes")
                constant = self.graph.constants.get(classes) if isinstance(classes, str) else classes
                return () if constant is None else tuple(constant.value.reshape(-1).tolist())
        return ()

    @cached_property
    def logits(self) -> str | None:
        """Name of the value before the softmax that feeds the first output; None where no softmax feeds it."""
        current: str | Constant | None = self.graph.outputs[0] if self.graph.outputs else None
        for operation in reversed(self.graph.operations):  # a damaged program may name a value its own source
            if any(name == current for name, _ in operation.outputs):
                current = _source(operation)
                if operation.type == "softmax":
                    return current if isinstance(current, str) else None
        return None

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        arithmetic: Arithmetic = "fp32",
        fetch: Collection[str] = (),
        observe: Observer | None = None,
        keep_fp32: Collection[str] = frozenset(),
        *,
        memory: Memory | None = None,
    ) -> dict[str, Result]:
        """Run the program once.

        Args:
            inputs: An array for each input; one that is optional and has a default value may be left out. Images are
                uint8 (N, C, H, W) with values 0 to 255, their channels in the order red, green, blue whatever order the
                model wants; scale and bias are operators of the program.
            arithmetic: ``fp32``: weights as stored, nothing is rounded. ``half``: inputs, weights and every operator's
                result are rounded to fp16, overflow becomes infinity. ``as-typed``: what the program's types say.
                Operators themselves compute in fp32 always, so their inner sums are wider than a half accumulator.
            fetch: Names of further values to return, such as :attr:`logits`.
            observe: Called with operation name, operator type, output name and value, before rounding, for every
                real-valued result.
            keep_fp32: Names of operations that neither round nor read rounded values, as if the converter had been told
                to keep them in fp32.
            memory: The states of :meth:`new_memory`, which the run changes; new ones by default.

        Returns:
            Output and fetched values by name: float32 or integer arrays; a classifier's label and its probabilities as
            a dictionary; image outputs as float32 (N, C, H, W) before they become pixels.

        Raises:
            BadInputError: An input is missing, unknown, or of the wrong shape or type, an operator fails on it, or Core
                ML does not load such a program.
            UnsupportedOperatorError: The runtime lacks operators of this program.
            UsageError: ``arithmetic`` is unknown, or ``keep_fp32`` names an operation that does not exist.
        """
        if arithmetic not in ARITHMETICS:
            raise UsageError(f"There is no arithmetic {arithmetic!r}; there are {', '.join(ARITHMETICS)}.")
        unknown = sorted(set(inputs) - {entry.name for entry in self.inputs})
        if unknown:
            names = ", ".join(entry.name for entry in self.inputs)
            raise BadInputError(f"{self.path.name} has no input {unknown[0]!r}; its inputs are: {names}.")
        if self.refused:
            raise BadInputError(
                f"Core ML does not load {self.path.name}: {self.refused[0]}.",
                hint="Change the model, or export it with `mvt export`, which rewrites such operations where it can.",
                code="core_ml_refuses",
            )
        tensors: dict[str, torch.Tensor | State] = {entry.name: self._input(entry, inputs) for entry in self.inputs}
        kept = self.new_memory() if memory is None else memory
        states = {name: State(self._carried(name, value)) for name, value in kept.items()}
        results = self._interpreter.run(tensors | states, arithmetic, fetch, observe, keep_fp32)
        kept.update((name, np.array(state.value)) for name, state in states.items())
        return {
            name: self._result(name, value)
            for name, value in sorted(results.items(), key=lambda item: self._order(item[0]))
        }

    def new_memory(self) -> Memory:
        """The states of the program before its first run, all zero; empty where it has none."""
        declared = {entry.name: self.graph.inputs[entry.name] for entry in self.description.states}
        return {
            name: np.zeros([size or 0 for size in kind.shape], kind.element.storage) for name, kind in declared.items()
        }

    def _carried(self, name: str, value: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).to(self.graph.inputs[name].element.carrier)

    def _result(self, name: str, value: Value) -> Result:
        if isinstance(value, torch.Tensor):
            return np.array(value)
        if isinstance(value, list | State):
            raise BadInputError(
                f"{self.path.name} returns {name!r}, which is neither a tensor nor a classifier output."
            )
        return value

    def _order(self, name: str) -> int:
        names = self.graph.outputs
        return names.index(name) if name in names else len(names)

    def _input(self, entry: Feature, inputs: Mapping[str, NDArray[Any]]) -> torch.Tensor:
        declared = self.graph.inputs[entry.name]
        if entry.name not in inputs:
            if entry.default is None:
                raise BadInputError(f"{self.path.name} needs the input {entry.name!r}.")
            return torch.full(entry.shape, entry.default, dtype=declared.element.carrier)
        if entry.kind not in {"tensor", "image"} and entry.dtype != "float64":
            raise BadInputError(f"The input {entry.name!r} is a {entry.kind}, which cannot be made here.")
        array = np.asarray(inputs[entry.name])
        _check_shape(entry, declared, array)
        if entry.kind == "image":
            if entry.dtype == "uint8" and array.dtype != np.uint8:
                raise BadInputError(f"The image input {entry.name!r} takes uint8 pixels, not {array.dtype}.")
            if entry.color == "BGR":
                array = array[:, ::-1]
        elif array.dtype.kind not in "fiub":
            raise BadInputError(f"The input {entry.name!r} takes numbers, not {array.dtype}.")
        return self._carried(entry.name, array)


def _check_shape(entry: Feature, declared: ValueType, array: NDArray[Any]) -> None:
    if not declared.admits(array.shape):
        wanted = ", ".join("any" if size is None else str(size) for size in declared.shape)
        raise BadInputError(f"The input {entry.name!r} has shape ({wanted}), the given array {array.shape}.")
    if reason := entry.refusal(array.shape):
        raise BadInputError(f"The input {entry.name!r} does not take the given array: {reason}.", code="input_shape")


def _source(operation: Operation) -> str | Constant | None:
    """Where the values that an operation merely passes on come from; None where it computes new ones."""
    if operation.type == "classify":
        return _argument(operation, "probabilities")
    return _argument(operation, "x") if operation.type in {*_TRANSPARENT, "softmax"} else None


def _argument(operation: Operation, name: str) -> str | Constant | None:
    return next(iter(operation.inputs.get(name, ())), None)


def load_program(path: str | Path, function: str = "") -> Program:
    """Load a ``.mlpackage``, ``.mlmodel`` or ``.mlmodelc``, whoever made it.

    It may be an ML Program, compiled or not, a network of the format before it, or a pipeline of these with
    non-maximum suppression.

    Args:
        path: The model.
        function: Which function of a package that has several; its default one where none is named.

    Raises:
        BadInputError: There is nothing at ``path``, or it is damaged, no Core ML model, of another kind, or without
            such a function.
    """
    if is_compiled(Path(path)):
        return Program(Path(path), *read_compiled(Path(path), function))
    package = open_package(path)
    description = with_thresholds(package.spec, describe(package, function))
    if description.kind in RUNNABLE:
        return Program(package.path, description, read_model(package, description))
    raise BadInputError(
        f"{package.path.name} is a {description.kind} model (specification version "
        f"{description.specification_version}); ML Programs, neural networks and pipelines of them can be run here.",
        hint=f"What can still be read of it: {_readable(description)}. "
        "Export the original model again as an ML Program (.mlpackage), iOS 15 or later.",
        code="not_an_ml_program",
    )


def _readable(description: ModelDescription) -> str:
    def listed(features: tuple[Feature, ...]) -> str:
        return ", ".join(
            f"{entry.name} ({entry.kind} {'x'.join(map(str, entry.shape)) or entry.dtype}"
            f"{f' {entry.color}' if entry.color else ''})"
            for entry in features
        )

    facts = [f"inputs {listed(description.inputs)}", f"outputs {listed(description.outputs)}"]
    facts += [f"{key} {value!r}" for key, value in description.metadata.items() if value]
    return "; ".join(facts)
