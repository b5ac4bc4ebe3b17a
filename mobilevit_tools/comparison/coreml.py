"""The weights that a Core ML package stores, and the operations that multiply by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mobilevit_tools.comparison.stored import NOT_WEIGHTS, Stored, weight
from mobilevit_tools.quantization.share import Layer

if TYPE_CHECKING:
    from mobilevit_tools.runtimes.coreml.mil import Argument, Graph, Operation

_OPERANDS: Mapping[str, tuple[tuple[str, int, str, int], ...]] = MappingProxyType(
    {
        **dict.fromkeys(("conv", "conv_transpose", "linear"), (("x", 0, "weight", 0),)),
        "matmul": (("x", 0, "y", 0), ("y", 0, "x", 0)),
        "einsum": (("values", 0, "values", 1), ("values", 1, "values", 0)),
        **dict.fromkeys(("lstm", "gru", "rnn"), (("x", 0, "weight_ih", 0), ("x", 0, "weight_hh", 0))),
    }
)
"""By operation, the parameters that hold its input and its weight, each with a place among several arguments."""
_PLAIN = frozenset({"constexpr_cast", "constexpr_sparse_to_dense"})
"""Ways to store a weight that do not quantize it."""
_MOVING = frozenset({"reshape", "transpose", "squeeze", "expand_dims", "identity", "cast"})


def read_weights(path: Path) -> Stored:
    """Read the constants of an ML Program, those that its compressed weights are made of among them."""
    from mobilevit_tools.runtimes.coreml.mil import Constant
    from mobilevit_tools.runtimes.coreml.program import load_program

    graph = load_program(path).graph
    constants = dict(graph.constants)
    for operation in graph.compressed:
        for key, arguments in operation.inputs.items():
            constants |= {f"{operation.name}.{key}": each for each in arguments if isinstance(each, Constant)}
    return tuple(
        weight(name, constant.element.name, constant.value.shape, constant.value.tobytes())
        for name, constant in constants.items()
        if constant.element.name not in NOT_WEIGHTS
    ), ()


def read_layers(path: Path) -> tuple[Layer, ...]:
    """Read the operations of a Core ML model that multiply by a stored weight."""
    from mobilevit_tools.runtimes.coreml.placement import count_macs
    from mobilevit_tools.runtimes.coreml.program import load_program

    program = load_program(path)
    macs = count_macs(program)
    weights = _Weights(program.graph)
    return tuple(
        Layer(
            operator=operation.name,
            kind=operation.type,
            weight=name,
            values=values,
            macs=macs.get(operation.name) or 0,
            quantized=quantized,
            integer=weights.is_quantized(given),
        )
        for operation in program.graph.operations
        for given, (name, values, quantized) in weights.of(operation)
    )


class _Weights:
    """What a program stores, and what it quantizes while it runs."""

    def __init__(self, graph: Graph) -> None:
        self._constants = graph.constants
        self._compressed = {name: (each, kind) for each in graph.compressed for name, kind in each.outputs}
        self._makers = {name: each for each in graph.operations for name, _ in each.outputs}

    def of(self, operation: Operation) -> Iterator[tuple[Argument, tuple[str, int, bool]]]:
        """Yield the inputs of an operation that meet a weight, with its name, size and whether it is quantized."""
        for given, first, parameter, second in _OPERANDS.get(operation.type, ()):
            inputs, weights = operation.inputs.get(given, ()), operation.inputs.get(parameter, ())
            if len(inputs) <= first or len(weights) <= second or self._stored(operation, inputs[first]) is not None:
                continue
            stored = self._stored(operation, weights[second])
            if stored is not None:
                yield inputs[first], stored

    def _stored(self, operation: Operation, argument: Argument) -> tuple[str, int, bool] | None:
        if not isinstance(argument, str):  # written in place
            return (operation.name, argument.value.size, False) if argument.value.ndim > 1 else None
        name = argument.removesuffix("_quantized").removesuffix("_palettized")
        if argument in self._constants:
            value = self._constants[argument].value
            return (name, value.size, False) if value.ndim > 1 else None
        if argument not in self._compressed:
            return None
        maker, kind = self._compressed[argument]
        return name, prod(size or 1 for size in kind.shape), maker.type not in _PLAIN

    def is_quantized(self, argument: Argument) -> bool:
        """Tell whether a value is a dequantized one, moved as it may be."""
        seen: set[Argument] = set()
        while isinstance(argument, str) and argument not in seen:
            seen.add(argument)
            maker = self._makers.get(argument)
            if maker is None or maker.type not in _MOVING:
                return maker is not None and maker.type == "dequantize"
            argument = next(iter(maker.inputs.get("x", ())), "")
        return False
