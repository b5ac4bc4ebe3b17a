"""The program inside an ML Program package, as plain data: operations, their arguments, and their constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mobilevit_tools.errors import BadInputError

from .blob import WeightFile
from .damage import refusing
from .dtypes import BY_NAME, ElementType, element_type, unpack
from .package import Package

if TYPE_CHECKING:
    from google.protobuf.message import Message

MAX_ELEMENTS = 1 << 31  # a bound on one value, so that a damaged shape cannot ask for all memory
MAX_RANK = 16


@dataclass(frozen=True)
class ValueType:
    """The type of a value as the program declares it.

    Attributes:
        element: Element type; for lists, dictionaries and states that of their values.
        shape: Sizes; None for a size known only at run time.
        container: ``tensor``, ``list``, ``dictionary``, ``tuple`` or ``state``.
        any_rank: Whether even the number of sizes is known only at run time; ``shape`` is empty then.
    """

    element: ElementType
    shape: tuple[int | None, ...]
    container: str = "tensor"
    any_rank: bool = False

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether a value of this shape is of this type."""
        return self.any_rank or (
            len(shape) == len(self.shape)
            and all(size in (None, actual) for size, actual in zip(self.shape, shape, strict=True))
        )


@dataclass(frozen=True)
class Constant:
    """A constant: numbers in their own NumPy type, or text.

    Attributes:
        value: The array; strings are object arrays of ``str``.
        element: The declared element type.
    """

    value: np.ndarray
    element: ElementType


Argument = str | Constant
"""What feeds a parameter: the name of a value, or a constant written in place."""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: Its name, which the converter derives from the source graph; the first output's name where it has none.
        type: Operator type, such as ``conv``.
        inputs: Parameter name to its arguments; several for parameters that take a tuple.
        outputs: Names and types of its results.
        blocks: Inner programs: the two branches of ``cond``, the condition and the body of ``while_loop``.
    """

    name: str
    type: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[tuple[str, ValueType], ...]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Block:
    """Operations that run one after the other; an inner one also reads the values of those around it.

    Attributes:
        inputs: Name to declared type, in order.
        outputs: Names of the values that it returns.
        operations: Operations in order of execution; plain constants and ``constexpr_*`` operations are not among them.
    """

    inputs: Mapping[str, ValueType]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]

    def walk(self) -> Iterator[Operation]:
        """Every operation, those of inner blocks after the one that carries them."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


@dataclass(frozen=True)
class Graph(Block):
    """A function of a program.

    Attributes:
        constants: Every plain constant by name, those of inner blocks included.
        compressed: The ``constexpr_*`` operations in order, which turn stored constants into weights.
        opset: Operator set, such as ``CoreML7``.
    """

    constants: Mapping[str, Constant]
    compressed: tuple[Operation, ...]
    opset: str


def read_graph(package: Package, function: str = "") -> Graph:
    """Decode a function of the program in ``package``; by default ``main`` or the only one.

    Raises:
        BadInputError: The program is damaged, or its constants do not fit its weight file.
    """
    functions = package.spec.mlProgram.functions
    name = function or ("main" if "main" in functions else next(iter(functions), ""))
    if name not in functions:
        raise BadInputError(f"{package.path.name} has no function {name!r}; the package is damaged.")
    message = functions[name]
    if message.opset not in message.block_specializations:
        raise BadInputError(f"{package.path.name} has no operations for its operator set {message.opset!r}.")
    reader = _Reader(package)
    try:
        with refusing(f"The program in {package.path.name} is damaged"):
            return reader.graph(message)
    finally:
        reader.close()


class _Reader:
    def __init__(self, package: Package) -> None:
        self._package = package
        self._files: dict[str, WeightFile] = {}
        self._blobs: dict[tuple[str, int, str, int], np.ndarray] = {}
        self._constants: dict[str, Constant] = {}
        self._compressed: list[Operation] = []

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def graph(self, message: Message) -> Graph:
        block = message.block_specializations[message.opset]
        return Graph(
            inputs={entry.name: self._type(entry.type) for entry in message.inputs},
            outputs=tuple(block.outputs),
            operations=self._operations(block),
            constants=self._constants,
            compressed=tuple(self._compressed),
            opset=message.opset,
        )

    def _block(self, message: Message) -> Block:
        inputs = {entry.name: self._type(entry.type) for entry in message.inputs}
        return Block(inputs, tuple(message.outputs), self._operations(message))

    def _operations(self, block: Message) -> tuple[Operation, ...]:
        operations: list[Operation] = []
        for entry in block.operations:
            if entry.type == "const":
                self._constant(entry)
            else:
                operation = self._operation(entry)
                (self._compressed if entry.type.startswith("constexpr_") else operations).append(operation)
        return tuple(operations)

    def _constant(self, entry: Message) -> None:
        if "val" not in entry.attributes or len(entry.outputs) != 1:
            raise self._damaged("a constant without a value")
        self._constants[entry.outputs[0].name] = self._value(entry.attributes["val"])

    def _operation(self, entry: Message) -> Operation:
        inputs = {key: tuple(self._bindings(argument.arguments)) for key, argument in entry.inputs.items()}
        name = ""
        for key, value in entry.attributes.items():
            if key == "name":
                name = str(self._value(value).value.reshape(-1)[0])
            elif key not in inputs:
                inputs[key] = (self._value(value),)
        outputs = tuple((output.name, self._type(output.type)) for output in entry.outputs)
        return Operation(
            name or next((output for output, _ in outputs), entry.type),
            entry.type,
            inputs,
            outputs,
            tuple(self._block(block) for block in entry.blocks),
        )

    def _bindings(self, bindings: Iterable[Message]) -> Iterable[Argument]:
        for binding in bindings:
            kind = binding.WhichOneof("binding")
            if kind is None:
                raise self._damaged("an argument that is neither a name nor a value")
            yield binding.name if kind == "name" else self._value(binding.value)

    def _type(self, message: Message) -> ValueType:
        kind = message.WhichOneof("type")
        if kind == "tensorType":
            return self._tensor_type(message.tensorType)
        if kind == "listType":
            return ValueType(self._type(message.listType.type).element, (None,), "list")
        if kind == "dictionaryType":
            return ValueType(self._type(message.dictionaryType.valueType).element, (), "dictionary")
        if kind == "stateType":
            return replace(self._type(message.stateType.wrappedType), container="state")
        return ValueType(BY_NAME["int32"], (), "tuple")

    def _tensor_type(self, message: Message) -> ValueType:
        element = element_type(message.dataType)
        if element is None:
            raise self._damaged(f"a value of the unknown element type {message.dataType}")
        if len(message.dimensions) > MAX_RANK:
            raise self._damaged(f"a value of rank {len(message.dimensions)}")
        if any(size.unknown.variadic for size in message.dimensions if size.WhichOneof("dimension") == "unknown"):
            return ValueType(element, (), any_rank=True)
        shape = tuple(
            int(size.constant.size) if size.WhichOneof("dimension") == "constant" else None
            for size in message.dimensions
        )
        if math.prod(size for size in shape if size) > MAX_ELEMENTS:  # beside a size of 0, too
            raise self._damaged(f"a value of shape {shape}, which is too large")
        return ValueType(element, shape)

    def _value(self, message: Message) -> Constant:
        if message.type.WhichOneof("type") == "listType":
            items = [self._value(item) for item in message.immediateValue.list.values]
            element = items[0].element if items else BY_NAME["string"]
            return Constant(np.array([item.value.reshape(-1)[0] for item in items]), element)
        declared = self._type(message.type)
        shape = tuple(size for size in declared.shape if size is not None)
        if declared.container != "tensor" or declared.any_rank or len(shape) != len(declared.shape):
            raise self._damaged(f"a constant {declared.container} of unknown size")
        count = math.prod(shape)
        if message.WhichOneof("value") == "blobFileValue":
            flat = self._blob(message.blobFileValue.fileName, message.blobFileValue.offset, declared.element, count)
        else:
            flat = self._immediate(message.immediateValue.tensor, declared.element, count)
        return Constant(flat.reshape(shape), declared.element)

    def _blob(self, name: str, offset: int, element: ElementType, count: int) -> np.ndarray:
        key = (name, offset, element.name, count)
        if key not in self._blobs:
            if name not in self._files:
                self._files[name] = WeightFile(self._package.weight_file(name))
            self._blobs[key] = self._files[name].array(offset, element, count)
        return self._blobs[key]

    def _immediate(self, message: Message, element: ElementType, count: int) -> np.ndarray:
        field = message.WhichOneof("value")
        values = getattr(message, field).values if field else ()
        try:
            if isinstance(values, bytes):
                return unpack(values, element, count)
            flat = np.array(list(values), dtype=object if element.storage is None else element.storage)
        except (ValueError, OverflowError, TypeError) as error:
            raise self._damaged(f"a constant that is no {element.name}") from error
        if flat.size != count:
            raise self._damaged(f"a constant with {flat.size} elements where its type says {count}")
        return flat

    def _damaged(self, what: str) -> BadInputError:
        return BadInputError(f"The program in {self._package.path.name} is damaged: it has {what}.")
