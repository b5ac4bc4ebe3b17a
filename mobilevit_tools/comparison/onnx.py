"""The weights that an ONNX model stores."""

from __future__ import annotations

from pathlib import Path

from mobilevit_tools.comparison.stored import NOT_WEIGHTS, Stored, weight
from mobilevit_tools.errors import BadInputError


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
    notes = (f"{outside} weights lie in files beside {path.name}; they were not compared.",) if outside else ()
    return tuple(weights), notes
