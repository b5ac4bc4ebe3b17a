"""The weights that an ONNX model stores, and the operators that multiply by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mobilevit_tools.comparison.stored import NOT_WEIGHTS, Stored, weight
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.quantization.share import Layer

if TYPE_CHECKING:
    import onnx

_OPERANDS: Mapping[str, Sequence[tuple[int, int]]] = MappingProxyType(
    {
        **dict.fromkeys(("Conv", "ConvTranspose", "ConvInteger"), ((0, 1),)),
        **dict.fromkeys(("Gemm", "MatMul", "MatMulInteger"), ((0, 1), (1, 0))),
        "Einsum": ((0, 1), (1, 0)),
        "QLinearConv": ((0, 3),),
        "QLinearMatMul": ((0, 3), (3, 0)),
        "QGemm": ((0, 3),),
        **dict.fromkeys(("LSTM", "GRU", "RNN"), ((0, 1), (0, 2))),
    }
)
"""By operator, where its input and its weight can be."""
_INTEGER = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm"})
_MOVING = frozenset({"Transpose", "Reshape", "Cast", "Identity", "Squeeze", "Unsqueeze", "Flatten", "Expand"})
_NARROW = frozenset({"INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2", "FLOAT8E4M3FN", "FLOAT8E5M2"})


def read_weights(path: Path) -> Stored:
    """Read the initializers of an ONNX model.

    Raises:
        BadInputError: The file is damaged.
    """
    try:
        return _stored(path)
    except Exception as error:  # its decoders raise whatever a damaged file leads them to
        raise BadInputError(f"{path} cannot be read as an ONNX model.", code="unloadable_artifact") from error


def _stored(path: Path) -> Stored:
    import onnx

    model = onnx.load(path, load_external_data=False)
    # The biases of int8 layers are stored as int32; a shape is never dequantized.
    quantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input[:1]}
    weights, outside = [], 0
    for tensor in model.graph.initializer:
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        if dtype in NOT_WEIGHTS and tensor.name not in quantized:
            continue
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            outside += 1
            continue
        content = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
        weights.append(weight(tensor.name, dtype, tuple(tensor.dims), content))
    notes = (
        (f"{outside} weights are stored in external files of {path.name} and were not compared.",) if outside else ()
    )
    return tuple(weights), notes


def read_layers(path: Path) -> tuple[Layer, ...]:
    """Read the operators of an ONNX model that multiply by a stored weight. A free dimension counts as 1.

    Raises:
        BadInputError: The file is damaged.
    """
    import onnx

    try:
        graph = _Graph.of(onnx.load(path, load_external_data=False))
        return tuple(layer for number, node in enumerate(graph.nodes) for layer in _layers(graph, node, number))
    except Exception as error:  # as above
        raise BadInputError(f"{path} cannot be read as an ONNX model.", code="unloadable_artifact") from error


@dataclass(frozen=True)
class _Graph:
    nodes: Sequence[onnx.NodeProto]
    stored: Mapping[str, onnx.TensorProto]
    makers: Mapping[str, onnx.NodeProto]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Graph:
        import onnx

        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                stored[node.output[0]] = node.attribute[0].t
        try:
            graph = onnx.shape_inference.infer_shapes(model).graph
        except Exception:  # of operators or sizes that it does not know, of any type; then MACs are not known
            graph = model.graph
        return cls(
            nodes=model.graph.node,
            stored=stored,
            makers={name: node for node in model.graph.node for name in node.output},
            shapes={
                value.name: tuple(size.dim_value or 1 for size in value.type.tensor_type.shape.dim)
                for value in (*graph.input, *graph.output, *graph.value_info)
                if value.type.tensor_type.HasField("shape")
            }
            | {name: tuple(tensor.dims) for name, tensor in stored.items()},
        )

    def origin(self, name: str) -> onnx.TensorProto | None:
        """Return the constant that a value holds, dequantized and moved as it may be; None where it is none."""
        for _ in range(len(self.nodes) + 1):  # a damaged model may have a cycle
            if name in self.stored:
                return self.stored[name]
            maker = self.makers.get(name)
            if maker is None or not maker.input or maker.op_type not in {*_MOVING, "DequantizeLinear"}:
                return None
            name = maker.input[0]
        return None

    def is_quantized(self, name: str) -> bool:
        maker = self.makers.get(name)
        while maker is not None and maker.op_type in _MOVING:
            maker = self.makers.get(maker.input[0])
        return maker is not None and maker.op_type == "DequantizeLinear"


def _layers(graph: _Graph, node: onnx.NodeProto, number: int) -> Iterator[Layer]:
    import onnx

    for given, place in _OPERANDS.get(node.op_type, ()):
        if max(given, place) >= len(node.input):
            continue
        stored = graph.origin(node.input[place])
        if stored is None or len(stored.dims) < 2 or graph.origin(node.input[given]) is not None:
            continue
        yield Layer(
            operator=node.name or f"{node.op_type}_{number}",
            kind=node.op_type,
            weight=stored.name or node.input[place],
            values=prod(stored.dims),
            macs=_macs(graph, node, given, tuple(stored.dims)),
            quantized=onnx.TensorProto.DataType.Name(stored.data_type) in _NARROW,
            integer=node.op_type in _INTEGER or graph.is_quantized(node.input[given]),
        )


def _macs(graph: _Graph, node: onnx.NodeProto, given: int, weight: tuple[int, ...]) -> int:
    x, y = graph.shapes.get(node.input[given]), graph.shapes.get(node.output[0])
    if not x or not y:
        return 0
    if node.op_type == "ConvTranspose":
        return prod(x) * prod(weight[1:])
    if node.op_type in {"Conv", "ConvInteger", "QLinearConv"}:
        return prod(y) * prod(weight[1:])
    if node.op_type == "Einsum":
        return _einsum_macs(graph, node)
    if node.op_type in {"LSTM", "GRU", "RNN"}:
        return prod(x[:2]) * prod(weight)
    others = y[:-1] if given == 0 else (*y[:-2], y[-1])  # every number of the weight meets each of these
    return prod(others) * prod(weight[-2:])


def _einsum_macs(graph: _Graph, node: onnx.NodeProto) -> int:
    equation = next((entry.s.decode(errors="replace") for entry in node.attribute if entry.name == "equation"), "")
    sizes: dict[str, int] = {}
    for term, name in zip(equation.partition("->")[0].replace(" ", "").split(","), node.input, strict=False):
        shape = graph.shapes.get(name)
        if shape is None or len(term) != len(shape):
            return 0
        sizes |= dict(zip(term, shape, strict=True))
    return prod(sizes.values())
