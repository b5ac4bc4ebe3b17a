"""ONNX: ONNX Runtime's own quantizers, on the operators that hold trained weights."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import quantize_onnx_initializer
from onnxruntime.quantization.shape_inference import quant_pre_process

from mobilevit_tools.quantization._base import Quantization
from mobilevit_tools.quantization.onnx_ranges import WEIGHTED_OPERATORS, Reader, measure_ranges
from mobilevit_tools.quantization.sensitivity import weight_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import nn

CALIBRATION_METHODS = {
    "min-max": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
ACTIVATIONS = {"int8": QuantType.QUInt8, "a16w8": QuantType.QUInt16}
"""Unsigned: in 8 bits about twice as fast as signed on x86."""
DYNAMIC_OPERATORS = ("Gemm", "MatMul")
UNARY = ("Relu", "Clip", "Gelu", "HardSwish", "LeakyRelu", "Sigmoid", "Tanh")
"""Functions of one value."""


def quantize(model: onnx.ModelProto, module: nn.Module, quantization: Quantization, batch: int) -> onnx.ModelProto:
    """Return ``model``, which was exported from ``module``, quantized.

    Args:
        model: A float32 model with one input.
        module: Tells which constants are trained weights, and their names.
        quantization: What to do.
        batch: Images per inference.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "float.onnx"), Path(folder, "quantized.onnx")
        onnx.save(model, source)
        quant_pre_process(source, source, skip_optimization=True, skip_symbolic_shape=True)
        prepared = onnx.load(source)
        nodes = [node.name for node, weight in weighted_nodes(prepared, module) if weight not in quantization.keep]
        if quantization.precision == "int8":
            alone = _depthwise_alone(prepared, set(nodes))
            nodes = [name for name in nodes if name not in alone]
        if not nodes:  # an empty list means every node to the quantizers
            return model
        # The dynamic quantizer transposes a Gemm's weight in place, once for each of its readers.
        _separate(prepared, set(nodes), alone=("Gemm",) if quantization.precision == "dynamic-int8" else ())
        if quantization.precision == "int8-weight":
            return _quantize_weights(prepared, set(nodes))
        if quantization.calibration is None:
            # It turns Gemm into MatMul, by another name and with another shape of the weight.
            nodes += [f"{node}_MatMul" for node in nodes]
            del prepared.graph.value_info[:]
            onnx.save(prepared, source)
            quantize_dynamic(
                source,
                result,
                nodes_to_quantize=nodes,
                op_types_to_quantize=list(DYNAMIC_OPERATORS),
                per_channel=True,
                weight_type=QuantType.QInt8,
                # Of a Gemm that it turned into MatMul it knows no result's type, should another one read it.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        else:
            onnx.save(prepared, source)
            ranges, augmented = Path(folder, "ranges.json"), Path(folder, "augmented.onnx")
            photos, method = quantization.calibration, CALIBRATION_METHODS[quantization.method]
            reader = Reader(model.graph.input[0].name, list(photos.batches(batch)))
            measure_ranges(source, augmented, ranges, method, reader, progress=photos.progress)
            _quantize_static(source, result, nodes, quantization, ranges)
        return onnx.load(result)


def _quantize_static(source: Path, result: Path, nodes: list[str], quantization: Quantization, ranges: Path) -> None:
    """Quantize weights and inputs of the named nodes of ``source``, by ranges that were measured there."""
    quantize_static(
        source,
        result,
        None,
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=nodes,
        op_types_to_quantize=list(WEIGHTED_OPERATORS),
        per_channel=True,
        activation_type=ACTIVATIONS[quantization.precision],
        weight_type=QuantType.QInt8,
        calibrate_method=CALIBRATION_METHODS[quantization.method],
        calibration_cache_path=ranges,
    )


def asked_to_stay(model: onnx.ModelProto, module: nn.Module, quantization: Quantization) -> tuple[str, ...]:
    """Return the names of the nodes of ``model``, exported from ``module``, that stay in floating point."""
    weights = {node.name: weight for node, weight in weighted_nodes(model, module)}
    kept = [name for name, weight in weights.items() if weight in quantization.keep]
    if quantization.precision == "int8":
        kept += _depthwise_alone(model, weights.keys() - set(kept))
    if quantization.precision == "dynamic-int8":
        kept += [node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    return tuple(kept)


def weighted_nodes(model: onnx.ModelProto, module: nn.Module) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Yield every node whose second input is a trained weight, with the weight's name in ``module``.

    Products with vectors or with several matrices are left out: no quantizer takes them.
    """
    names = weight_names(module)
    parameters = {name: module.get_parameter(name).detach().numpy() for name in names}
    # The exporter renames the weights that it transposes.
    transposed = {_digest(array.T): name for name, array in parameters.items() if array.ndim == 2}
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED_OPERATORS or node.input[1] not in constants:
            continue
        if node.op_type == "MatMul" and len(constants[node.input[1]].dims) != 2:
            continue
        name: str | None = node.input[1]
        if name not in parameters:
            name = transposed.get(_digest(numpy_helper.to_array(constants[node.input[1]])))
        if name is not None:
            yield node, names[name]


def _depthwise_alone(model: onnx.ModelProto, names: Set[str]) -> list[str]:
    """Return the depthwise convolutions of the named nodes that are not between two others, functions of a value aside.

    Their inputs or results would be converted for them alone, which takes longer than 8 bits gain where there are so
    few products for each value.
    """
    shapes = {constant.name: constant.dims for constant in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)

    def before(value: str) -> bool:
        node = makers.get(value)
        return node is not None and (node.name in names or (node.op_type in UNARY and before(node.input[0])))

    def after(value: str) -> bool:
        return bool(readers[value]) and all(
            node.name in names or (node.op_type in UNARY and after(node.output[0])) for node in readers[value]
        )

    return [
        node.name
        for node in model.graph.node
        if node.name in names and node.op_type == "Conv"
        if any(entry.name == "group" and entry.i > 1 for entry in node.attribute) and shapes[node.input[1]][1] == 1
        if not (before(node.input[0]) and after(node.output[0]))
    ]


def _separate(model: onnx.ModelProto, names: set[str], alone: Sequence[str]) -> None:
    """Give the named nodes a copy of a weight that is read in another way too: quantizers look at one reader only.

    Of the operators in ``alone``, each has a weight to itself.
    """
    constants = {constant.name: constant for constant in model.graph.initializer}
    taken: dict[tuple[str, object], str] = {}
    owners: dict[str, object] = {output.name: None for output in model.graph.output}

    def way(node: onnx.NodeProto, index: int) -> object:
        if node.name not in names or index != 1:
            return None
        return node.op_type, _channel_axis(node), node.name if node.op_type in alone else ""

    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in constants and (way(node, index) is None or name not in owners):
                owners[name] = way(node, index)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            how = way(node, index)
            if name not in constants or how == owners[name]:
                continue
            if (name, how) not in taken:
                taken[name, how] = f"{name}_of_{node.name}"
                copy = model.graph.initializer.add()
                copy.CopyFrom(constants[name])
                copy.name = taken[name, how]
            node.input[index] = taken[name, how]


def _digest(array: NDArray[Any]) -> tuple[tuple[int, ...], bytes]:
    return array.shape, np.ascontiguousarray(array).tobytes()


def _quantize_weights(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """Store the weights of the named nodes in 8 bits with a scale per output channel, behind DequantizeLinear."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    done: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name in names:
            weight = node.input[1]
            if weight not in done:
                done[weight] = f"{weight}_dequantized"
                axis = _channel_axis(node)
                nodes.append(_dequantize(model, constants[weight], axis, done[weight]))
            node.input[1] = done[weight]
        nodes.append(node)
    kept = [constant for constant in model.graph.initializer if constant.name not in done]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return model


def _channel_axis(node: onnx.NodeProto) -> int:
    """Return the axis of a weight that runs over output channels."""
    if node.op_type == "Gemm":
        return 0 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 1
    return 0 if node.op_type == "Conv" else 1


def _dequantize(model: onnx.ModelProto, weight: onnx.TensorProto, axis: int, output: str) -> onnx.NodeProto:
    array = numpy_helper.to_array(weight)
    others = tuple(i for i in range(array.ndim) if i != axis)
    scale = np.maximum(np.abs(array).max(axis=others) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    zero = np.zeros(len(scale), np.int8)
    quantized = quantize_onnx_initializer(weight, onnx.TensorProto.INT8, zero, scale, axis, f"{weight.name}_quantized")
    scales, zeros = (
        numpy_helper.from_array(values, f"{weight.name}_{what}") for values, what in ((scale, "scale"), (zero, "zero"))
    )
    model.graph.initializer.extend([quantized, scales, zeros])
    return onnx.helper.make_node(
        "DequantizeLinear", [quantized.name, scales.name, zeros.name], [output], f"{output}_node", axis=axis
    )
