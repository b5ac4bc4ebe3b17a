"""The weights that a LiteRT model stores, under the names of its tensors, and the operators that multiply by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ai_edge_litert import schema_py_generated as schema

from mobilevit_tools.comparison.stored import NOT_WEIGHTS, Stored, Weight, weight
from mobilevit_tools.errors import BadInputError, first_line
from mobilevit_tools.quantization.share import Layer
from mobilevit_tools.runtimes.litert_operators import macs_of

_Found = TypeVar("_Found")
_OPERATORS: Mapping[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_WEIGHTED = {"CONV_2D": 0, "CONV_3D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2}
"""Operators whose second input is a weight, and which input is multiplied by it."""
_INTEGERS = ("int8", "uint8", "int4", "int2")
_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}


def read_weights(path: Path) -> Stored:
    """Read the constants of a model.

    Raises:
        BadInputError: It cannot be read.
    """
    return _read(path, _stored), ("The converter renames weights, so they are compared by content.",)


def read_layers(path: Path) -> tuple[Layer, ...]:
    """Read the operators of a model that multiply by a stored weight.

    Raises:
        BadInputError: It cannot be read.
    """
    return _read(path, _layers)


def _read(path: Path, reader: Callable[[Any], Iterable[_Found]]) -> tuple[_Found, ...]:
    try:
        return tuple(reader(schema.Model.GetRootAs(path.read_bytes())))
    except Exception as error:  # the decoder raises whatever a damaged file leads it to
        raise BadInputError(
            f"{path} cannot be read as a LiteRT model: {first_line(error)}", code="unloadable_artifact"
        ) from error


def _layers(model: Any) -> Iterator[Layer]:
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        tensors = [graph.Tensors(place) for place in range(graph.TensorsLength())]
        operators = [(_name(model, each), each) for each in map(graph.Operators, range(graph.OperatorsLength()))]
        makers = {
            each.Outputs(place): (name, each) for name, each in operators for place in range(each.OutputsLength())
        }
        for name, each in operators:
            if name not in _WEIGHTED:
                continue
            stored = each.Inputs(1)
            maker, dequantize = makers.get(stored, ("", None))
            if dequantize is not None:
                if maker != "DEQUANTIZE" or dequantize.Inputs(0) in makers:
                    continue  # a product of two activations
                stored = dequantize.Inputs(0)
            inputs = [_shape(tensors[each.Inputs(place)]) for place in range(3) if place < each.InputsLength()]
            yield Layer(
                operator=tensors[each.Outputs(0)].Name().decode(),
                kind=name,
                weight=tensors[stored].Name().decode(),
                values=math.prod(inputs[1]),
                macs=macs_of(name, inputs, _shape(tensors[each.Outputs(0)])),
                quantized=_TYPES.get(tensors[stored].Type()) in _INTEGERS,
                integer=_TYPES.get(tensors[each.Inputs(_WEIGHTED[name])].Type()) in _INTEGERS,
            )


def _name(model: Any, operator: Any) -> str:
    code = model.OperatorCodes(operator.OpcodeIndex())
    return _OPERATORS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "")


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(map(int, tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()


def _stored(model: Any) -> Iterator[Weight]:
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            element = _TYPES.get(tensor.Type(), str(tensor.Type()))
            buffer = model.Buffers(tensor.Buffer())
            if buffer.DataLength() and element not in NOT_WEIGHTS:
                yield weight("", element, _shape(tensor), buffer.DataAsNumpy().tobytes())
