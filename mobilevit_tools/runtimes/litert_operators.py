"""The operators of a LiteRT model, and which of them XNNPACK takes when the interpreter loads it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mobilevit_tools.runtimes._base import OperatorUse

_CALL: Final = "DELEGATE"
_SHORT = {"float32": "fp32", "float16": "fp16", "float64": "fp64"}
_Shapes = tuple[Sequence[tuple[int, ...]], tuple[int, ...]]


@dataclass(frozen=True)
class Operators:
    """What a model consists of.

    Attributes:
        uses: Its operators by type, in alphabetical order.
        calls: Calls into XNNPACK for one inference.
        outside: Operators that XNNPACK does not take, and how often each.
        macs_share: The share of the multiply-accumulates that XNNPACK does; None where there are none.
    """

    uses: tuple[OperatorUse, ...]
    calls: int
    outside: Mapping[str, int]
    macs_share: float | None


def read_operators(path: Path) -> Operators:
    """Load a model and read its operators. It raises what the interpreter raises."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    details = {int(each["index"]): each for each in interpreter.get_tensor_details()}
    listed = interpreter._get_ops_details()
    operators = [each for each in listed if each["op_name"] != _CALL]
    calls = [each for each in listed if each["op_name"] == _CALL]
    taken = _taken(operators, calls)

    def shape(tensor: int) -> tuple[int, ...]:
        return tuple(map(int, details[tensor]["shape"]))

    def macs(operator: Mapping[str, Any]) -> int:
        inputs = [shape(each) for each in operator["inputs"] if each >= 0]
        return macs_of(operator["op_name"], inputs, shape(operator["outputs"][0]))

    every = sum(map(macs, operators))
    inside = sum(macs(each) for each in operators if each["index"] in taken)
    outside = Counter(each["op_name"] for each in operators if each["index"] not in taken)
    return Operators(
        uses=tuple(_uses(operators, macs)),
        calls=len(calls),
        outside=dict(sorted(outside.items())),
        macs_share=inside / every if every else None,
    )


def macs_of(name: str, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of an operator, by its name and the shapes that it reads and makes."""
    count = _MACS.get(name)
    return 0 if count is None else count((inputs, output))


def _taken(operators: Iterable[Mapping[str, Any]], calls: Iterable[Mapping[str, Any]]) -> set[int]:
    """Return the indices of the operators that the calls stand for: those between their outputs and their inputs.

    The interpreter lists the calls behind the operators, and does not say which replaces which.
    """
    makers = {int(tensor): each for each in operators for tensor in each["outputs"]}
    taken: set[int] = set()
    for call in calls:
        given = set(map(int, call["inputs"]))
        left = [int(tensor) for tensor in call["outputs"]]
        while left:
            tensor = left.pop()
            maker = makers.get(tensor)
            if tensor in given or maker is None or maker["index"] in taken:
                continue
            taken.add(maker["index"])
            left.extend(int(each) for each in maker["inputs"])
    return taken


def _uses(operators: Iterable[Mapping[str, Any]], macs: Callable[[Mapping[str, Any]], int]) -> Iterable[OperatorUse]:
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for each in operators:
        by_name.setdefault(each["op_name"], []).append(each)
    for name, uses in sorted(by_name.items()):
        types = Counter(np.dtype(each["result_types"][0]).name for each in uses)
        yield OperatorUse(
            name, len(uses), {_SHORT.get(each, each): count for each, count in types.items()}, sum(map(macs, uses))
        )


def _convolution(shapes: _Shapes) -> int:
    (_, weight, *_), out = shapes
    return math.prod(out) * math.prod(weight[1:])


def _spatial(shapes: _Shapes) -> int:
    (_, weight, *_), out = shapes
    return math.prod(out) * math.prod(weight[:4])  # depth, height, width, channels in, channels out


def _depthwise(shapes: _Shapes) -> int:
    (_, weight, *_), out = shapes
    return math.prod(out) * math.prod(weight[1:3])


def _transposed(shapes: _Shapes) -> int:
    (_, weight, given, *_), _ = shapes
    return math.prod(given) * math.prod(weight[:3])


def _linear(shapes: _Shapes) -> int:
    (_, weight, *_), out = shapes
    return math.prod(out) * weight[-1]


def _product(shapes: _Shapes) -> int:
    (left, *_), out = shapes
    return math.prod(out) * (left[-1] * left[-2] // out[-2])  # whichever of the two is summed over


_MACS: Mapping[str, Callable[[_Shapes], int]] = {
    "CONV_2D": _convolution,
    "CONV_3D": _spatial,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _linear,
    "BATCH_MATMUL": _product,
}
