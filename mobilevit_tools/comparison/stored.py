"""The weights that an artifact stores, by format: names where it keeps them, and digests of the contents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    from executorch.exir._serialize._program import PTEFile

_NOT_WEIGHTS = ("int32", "int64", "bool", "string")
"""Element types of shapes, axes and switches."""


@dataclass(frozen=True)
class Weight:
    """One stored array.

    Attributes:
        name: Its name in the artifact; empty where the format keeps none.
        dtype: Its element type, in the format's words; ``bytes`` where the format keeps none.
        shape: Its shape; empty where the format keeps none.
        size_bytes: Its size.
        sha256: Digest of its content.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    sha256: str


Stored = tuple[tuple[Weight, ...], tuple[str, ...]]
"""Weights, and sentences on what the format does not let one tell."""


def onnx_weights(path: Path) -> Stored:
    """Read the initializers of an ONNX model."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    # The biases of int8 layers are stored as int32; a shape is never dequantized.
    quantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input[:1]}
    weights, outside = [], 0
    for tensor in model.graph.initializer:
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        if dtype in _NOT_WEIGHTS and tensor.name not in quantized:
            continue
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            outside += 1
            continue
        content = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
        weights.append(_weight(tensor.name, dtype, tuple(tensor.dims), content))
    notes = (f"{outside} weights lie in files beside {path.name}; they were not compared.",) if outside else ()
    return tuple(weights), notes


def coreml_weights(path: Path) -> Stored:
    """Read the constants of an ML Program, those that its compressed weights are made of among them."""
    from mobilevit_tools.runtimes.coreml.mil import Constant
    from mobilevit_tools.runtimes.coreml.program import load_program

    graph = load_program(path).graph
    constants = dict(graph.constants)
    for operation in graph.compressed:
        for key, arguments in operation.inputs.items():
            constants |= {f"{operation.name}.{key}": each for each in arguments if isinstance(each, Constant)}
    return tuple(
        _weight(name, constant.element.name, constant.value.shape, constant.value.tobytes())
        for name, constant in constants.items()
        if constant.element.name not in _NOT_WEIGHTS
    ), ()


def executorch_weights(path: Path) -> Stored:
    """Read what a program and its backends store. Backends keep no names, some not even single weights."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    try:
        weights = tuple(_stored(deserialize_pte_binary(path.read_bytes())))
    except Exception as error:  # its decoder raises whatever a damaged file leads it to
        raise BadInputError(f"{path} cannot be read as an ExecuTorch program.", code="unloadable_artifact") from error
    return weights, ("ExecuTorch's backends keep no names of weights: they are compared by content.",)


def _stored(file: PTEFile) -> Iterator[Weight]:
    for buffer in file.program.constant_buffer:
        if buffer.storage:
            yield _weight("", "bytes", (), bytes(buffer.storage))
    for content in file.named_data.buffers if file.named_data else ():
        yield _weight("", "bytes", (), bytes(content))
    for plan in file.program.execution_plan:
        for number, delegate in enumerate(plan.delegates):
            blob = file.program.backend_delegate_data[delegate.processed.index].data
            yield _weight(f"{plan.name}: {delegate.id} {number}", "program", (), bytes(blob))


def _weight(name: str, dtype: str, shape: tuple[int, ...], content: bytes) -> Weight:
    return Weight(name, dtype, tuple(shape), len(content), hashlib.sha256(content).hexdigest())


READERS: Mapping[str, Callable[[Path], Stored]] = MappingProxyType(
    {"onnx": onnx_weights, "coreml": coreml_weights, "executorch": executorch_weights}
)
