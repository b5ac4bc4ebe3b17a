"""What Qualcomm's NPU is known to leave to the CPU or to refuse, told of an ONNX model without the compiler.

Each fact was seen with onnxruntime-qnn 2.7.0; a test of the extra asks the compiler again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

VERSION = "onnxruntime-qnn 2.7"
OUTSIDE = frozenset(
    (
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atanh",
        "Celu",
        "Col2Im",
        "Cosh",
        "DFT",
        "Det",
        "Hardmax",
        "IsInf",
        "MeanVarianceNormalization",
        "ReduceL1",
        "ReduceLogSum",
        "ReduceProd",
        "ReduceSumSquare",
        "ReverseSequence",
        "Shrink",
        "Sinh",
        "Softsign",
        "Trilu",
    )
)
"""Operators that it takes in no form."""
MOST_DIMENSIONS = 5
_MOVING = frozenset({"Reshape", "Transpose"})


@dataclass(frozen=True)
class _Graph:
    """A model's nodes, with who makes and who reads each value."""

    nodes: Sequence[onnx.NodeProto]
    makers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, Sequence[onnx.NodeProto]]
    types: Mapping[str, str]
    shapes: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Graph:
        import onnx

        readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                readers[name].append(node)
        return cls(
            nodes=model.graph.node,
            makers={name: node for node in model.graph.node for name in node.output},
            readers=readers,
            types={each.name: str(onnx.TensorProto.DataType.Name(each.data_type)) for each in model.graph.initializer},
            shapes={
                value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
                for value in (*model.graph.value_info, *model.graph.output)
            },
        )

    def stored(self, name: str) -> str | None:
        """Return the element type in which a dequantized value is stored, ``INT8`` or ``UINT8``; None for others."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or len(maker.input) < 3:
            return None
        return self.types.get(maker.input[2])


def lint(artifact: Path) -> tuple[str, ...]:
    """Return what is known to go wrong with an ONNX model on the NPU, one sentence each; nothing where nothing is.

    A model that the runtime loads but ONNX's own reader does not has no lint.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = _Graph.of(onnx.load(artifact, load_external_data=False))
    except DecodeError:
        return ()
    left = Counter(name for node in graph.nodes if (name := _outside(graph, node)) is not None)
    told = [f"{name} ({count})" for name, count in sorted(left.items())]
    return tuple(
        [f"htp: the CPU computes {', '.join(told)}, not the NPU ({VERSION})."] * bool(told) + list(_norms(graph))
    )


def _outside(graph: _Graph, node: onnx.NodeProto) -> str | None:
    """Name what keeps an operator off the NPU; None where it is taken as far as is known."""
    attributes = {entry.name: entry for entry in node.attribute}
    if node.op_type in OUTSIDE or (node.op_type == "Erf" and not _in_gelu(graph, node)):
        return str(node.op_type)
    if node.op_type == "Mod" and "fmod" in attributes and attributes["fmod"].i:
        return "Mod of floats"
    if node.op_type == "Pad" and "mode" in attributes and attributes["mode"].s == b"wrap":
        return "Pad that wraps"
    if node.op_type == "Resize" and "antialias" in attributes and attributes["antialias"].i:
        return "antialiased Resize"
    if node.op_type in _MOVING and len(graph.shapes.get(node.output[0], ())) > MOST_DIMENSIONS:
        return f"{node.op_type} to {len(graph.shapes[node.output[0]])} dimensions"
    return None


def _in_gelu(graph: _Graph, erf: onnx.NodeProto) -> bool:
    """Tell whether an Erf is in x (1 + erf(x / sqrt 2)) / 2, which is recognised as a whole."""
    after = graph.readers.get(erf.output[0], ())
    if len(after) != 1 or after[0].op_type != "Add":
        return False
    products = graph.readers.get(after[0].output[0], ())
    return len(products) == 1 and products[0].op_type == "Mul"


def _norms(graph: _Graph) -> Iterator[str]:
    """Tell of quantized LayerNormalizations whose scale is signed where the activations are not, or the other way."""
    bad = 0
    for node in graph.nodes:
        if node.op_type != "LayerNormalization" or len(node.input) < 3 or graph.stored(node.input[2]) is None:
            continue
        given, scale = graph.stored(node.input[0]), graph.stored(node.input[1])
        if given is not None and scale is not None:
            bad += scale not in {"INT8", "UINT8"} or scale.startswith("U") != given.startswith("U")
    if bad:
        yield (
            f"htp: the NPU refuses {bad} LayerNormalization whose quantized scale is not in 8 bits with the sign of "
            f"the activations ({VERSION}); leave their bias in floating point, or store the scale with that sign."
        )
