"""What can be said, without a device, of where Core ML would run a program: types, MACs, and known obstacles.

Core ML decides placement when it loads a model, and Apple does not document all of its rules. These notes repeat what
the named sources say; only Xcode's performance report on a device tells what happens there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes._base import OperatorUse

from .damage import UNFIT
from .mil import Constant, Operation
from .program import Program
from .refusals import MAX_RANK

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Source:
    """Where a statement on placement comes from."""

    title: str
    url: str


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "typed-execution": Source(
            "Core ML Tools guide, Typed Execution",
            "https://apple.github.io/coremltools/docs-guides/source/typed-execution.html",
        ),
        "range-shapes": Source(
            "Apple Developer Forums, answer of an Apple engineer on range flexibility",
            "https://developer.apple.com/forums/thread/724930",
        ),
        "rank-limit": Source(
            "Core ML Tools issue 1723, answer of a maintainer on tensors of rank 6",
            "https://github.com/apple/coremltools/issues/1723",
        ),
        "half-only": Source(
            "The Neural Engine, what do we know about it: 16-bit",
            "https://github.com/hollance/neural-engine/blob/master/docs/16-bit.md",
        ),
        "unsupported-layers": Source(
            "The Neural Engine, what do we know about it: unsupported layers",
            "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md",
        ),
        "capability-surface": Source(
            "Apple Neural Engine guide, capability surface",
            "https://ane-guide.readthedocs.io/en/latest/part-1-machine/04-capability-surface.html",
        ),
    }
)

_GATHER = frozenset({"gather", "gather_along_axis", "gather_nd"})
_NO_PATH = frozenset({"gru", "lstm", "reduce_prod", "rnn", "scatter", "scatter_along_axis", "scatter_nd"})


@dataclass(frozen=True)
class PlacementNote:
    """One known obstacle to the Neural Engine.

    Attributes:
        sentence: The statement, for people.
        source: Key into :data:`SOURCES`.
        operations: Names of the operations or inputs that it is about.
    """

    sentence: str
    source: str
    operations: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """A program's operators and what is known of their placement.

    Attributes:
        operators: Uses by operator type, alphabetically; constants are not operators.
        macs: Multiply-accumulates in total, of what could be counted.
        uncounted: Operator types with multiply-accumulates of unknown sizes.
        notes: Known obstacles.
    """

    operators: tuple[OperatorUse, ...]
    macs: int
    uncounted: tuple[str, ...]
    notes: tuple[PlacementNote, ...]


def placement(program: Program) -> Placement:
    """Summarise ``program``'s operators, precision and MACs, and note what is known to keep off the Neural Engine.

    Raises:
        BadInputError: A product in the program lacks its inputs.
    """
    values = Values(program)
    by_type: dict[str, list[Operation]] = {}
    for operation in program.graph.operations:
        by_type.setdefault(operation.type, []).append(operation)
    uses = tuple(_use(kind, operations, values) for kind, operations in sorted(by_type.items()))
    return Placement(
        operators=uses,
        macs=sum(use.macs or 0 for use in uses),
        uncounted=tuple(use.type for use in uses if use.macs is None),
        notes=tuple(_notes(program, values)),
    )


def count_macs(program: Program) -> dict[str, int | None]:
    """Count the multiply-accumulates of each operation, by its name; None where its sizes are not known.

    Raises:
        BadInputError: A product in the program lacks its inputs.
    """
    values = Values(program)
    return {operation.name: _macs(operation, values) for operation in program.graph.operations}


class Values:
    """Sizes and flags of a program's values, by where an operation takes them."""

    def __init__(self, program: Program) -> None:
        graph = program.graph
        self._constants = graph.constants
        self.shapes: dict[str, Shape] = {name: declared.shape for name, declared in graph.inputs.items()}
        for operation in graph.operations:
            self.shapes.update((name, declared.shape) for name, declared in operation.outputs)
        self._stored = {name: constant.value.shape for name, constant in graph.constants.items()} | {
            name: declared.shape for operation in graph.compressed for name, declared in operation.outputs
        }

    def shape(self, operation: Operation, parameter: str) -> Shape:
        """Return the sizes of what an operation takes for a parameter."""
        argument = operation.inputs[parameter][0]
        if isinstance(argument, Constant):
            return argument.value.shape
        return self.shapes[argument] if argument in self.shapes else self._stored[argument]

    def flag(self, operation: Operation, parameter: str) -> bool:
        """Return whether an operation's parameter is a constant that is true."""
        (argument,) = operation.inputs.get(parameter, (None,))
        constant = argument if isinstance(argument, Constant) else self._constants.get(argument or "")
        return constant is not None and bool(constant.value)


def _use(kind: str, operations: list[Operation], values: Values) -> OperatorUse:
    precisions = Counter(operation.outputs[0][1].element.name for operation in operations if operation.outputs)
    counted = [_macs(operation, values) for operation in operations]
    macs = None if None in counted else sum(count or 0 for count in counted)
    return OperatorUse(kind, len(operations), dict(sorted(precisions.items())), macs)


def _macs(operation: Operation, values: Values) -> int | None:
    rule = _MAC_RULES.get(operation.type)
    if rule is None:
        return 0
    try:
        sizes = rule(operation, values)
    except UNFIT as error:
        raise BadInputError(
            f"The program is damaged: the inputs of its operation {operation.name!r} do not fit its type."
        ) from error
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _conv(operation: Operation, values: Values) -> Shape:
    return operation.outputs[0][1].shape + values.shape(operation, "weight")[1:]


def _conv_transpose(operation: Operation, values: Values) -> Shape:
    return values.shape(operation, "x") + values.shape(operation, "weight")[1:]


def _product(operation: Operation, values: Values) -> Shape:
    x = values.shape(operation, "values" if operation.type == "einsum" else "x")
    inner = x[-2:-1] if len(x) > 1 and values.flag(operation, "transpose_x") else x[-1:]
    return operation.outputs[0][1].shape + inner


def _attention(operation: Operation, values: Values) -> Shape:
    query, key, value = (values.shape(operation, name) for name in ("query", "key", "value"))
    width = None if query[-1] is None or value[-1] is None else query[-1] + value[-1]
    return (*query[:-1], key[-2], width)


_MAC_RULES: Mapping[str, Callable[[Operation, Values], Shape]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "einsum": _product,
    "linear": _product,
    "matmul": _product,
    "scaled_dot_product_attention": _attention,
}


def _notes(program: Program, values: Values) -> Iterable[PlacementNote]:
    operations = program.graph.operations

    def chosen(test: Callable[[Operation], bool]) -> tuple[str, ...]:
        return tuple(operation.name for operation in operations if test(operation))

    def makes(operation: Operation, *elements: str) -> bool:
        return any(declared.element.name in elements for _, declared in operation.outputs)

    typed = program.description.kind == "mlProgram"  # the older format leaves types to the system
    fp32 = chosen(lambda operation: typed and makes(operation, "fp32") and operation.type not in {"cast", "classify"})
    if fp32:
        yield PlacementNote(
            f"{len(fp32)} of {len(operations)} operators are typed fp32, which Core ML runs on the CPU or GPU only.",
            "typed-execution",
            fp32,
        )
    whole = chosen(lambda operation: makes(operation, "bool", "int8", "int16", "int32", "uint8", "uint16"))
    if whole:
        yield PlacementNote(
            f"{len(whole)} operators produce integers or booleans; the Neural Engine appears to compute in fp16 only.",
            "half-only",
            whole,
        )
    high = tuple(name for name, shape in values.shapes.items() if len(shape) > MAX_RANK)
    if high:
        yield PlacementNote(
            f"{len(high)} values have a rank above {MAX_RANK}; Core ML does not load them.", "rank-limit", high
        )
    flexible = tuple(entry.name for entry in program.inputs if entry.flexibility == "range")
    if flexible:
        yield PlacementNote(
            f"The size of {', '.join(flexible)} is a range: only its default size can run on the Neural Engine. "
            "A fixed size or a list of sizes has no such limit.",
            "range-shapes",
            flexible,
        )
    gathers = chosen(lambda operation: operation.type in _GATHER)
    if gathers:
        yield PlacementNote(
            f"{len(gathers)} gather operators may not run on the Neural Engine.", "unsupported-layers", gathers
        )
    absent = chosen(lambda operation: operation.type in _NO_PATH or _is_conv3d(operation))
    if absent:
        kinds = sorted({operation.type for operation in operations if operation.name in absent})
        yield PlacementNote(
            f"{len(absent)} operators ({', '.join(kinds)}) are not known to run on any Neural Engine.",
            "capability-surface",
            absent,
        )


def _is_conv3d(operation: Operation) -> bool:
    volumes = (len(declared.shape) == 5 for _, declared in operation.outputs)
    return operation.type in {"conv", "conv_transpose"} and any(volumes)
