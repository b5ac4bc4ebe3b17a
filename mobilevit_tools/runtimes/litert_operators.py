"""The operators of a LiteRT model, and which of them XNNPACK takes when the interpreter loads it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mobilevit_tools.runtimes._base import OperatorUse
from mobilevit_tools.runtimes.pieces import Piece, Step, pieces_of

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
        pieces: The calls and what runs between them, in order of execution.
    """

    uses: tuple[OperatorUse, ...]
    calls: int
    outside: Mapping[str, int]
    macs_share: float | None
    pieces: tuple[Piece, ...]


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
        pieces=pieces_of(_in_order(_steps(operators, taken, macs))),
    )


def macs_of(name: str, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of an operator, by its name and the shapes that it reads and makes."""
    count = _MACS.get(name)
    return 0 if count is None else count((inputs, output))


def _taken(operators: Iterable[Mapping[str, Any]], calls: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """Return the place of the call that stands for each operator that one does: those between its outputs and inputs.

    The interpreter lists the calls behind the operators, and does not say which replaces which.
    """
    makers = {int(tensor): each for each in operators for tensor in each["outputs"]}
    taken: dict[int, int] = {}
    for place, call in enumerate(calls):
        given = set(map(int, call["inputs"]))
        left = [int(tensor) for tensor in call["outputs"]]
        while left:
            tensor = left.pop()
            maker = makers.get(tensor)
            if tensor in given or maker is None or maker["index"] in taken:
                continue
            taken[maker["index"]] = place
            left.extend(int(each) for each in maker["inputs"])
    return taken


def _steps(
    operators: Iterable[Mapping[str, Any]], taken: Mapping[int, int], macs: Callable[[Mapping[str, Any]], int]
) -> Iterator[Step]:
    """Yield the operators that are outside, and each call with all that is inside, in the order of the file."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for each in operators:
        index = int(each["index"])
        groups.setdefault(("call", taken[index]) if index in taken else ("operator", index), []).append(each)
    for (kind, _), group in groups.items():
        writes = frozenset(int(tensor) for each in group for tensor in each["outputs"])
        yield Step(
            delegated=kind == "call",
            operators=Counter(each["op_name"] for each in group),
            macs=sum(map(macs, group)),
            reads=frozenset(int(tensor) for each in group for tensor in each["inputs"]) - writes,
            writes=writes,
        )


def _in_order(steps: Iterable[Step]) -> list[Step]:
    """Return steps so that each follows those whose values it reads, and calls after whatever need not follow them."""
    listed = list(steps)
    makers = {value: place for place, step in enumerate(listed) for value in step.writes}
    sorter = TopologicalSorter(
        {place: {makers[value] for value in step.reads if value in makers} for place, step in enumerate(listed)}
    )
    sorter.prepare()
    ready: list[tuple[bool, int]] = []
    ordered = []
    while sorter.is_active():
        for place in sorter.get_ready():
            heappush(ready, (listed[place].delegated, place))
        _, place = heappop(ready)
        ordered.append(listed[place])
        sorter.done(place)
    return ordered


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
