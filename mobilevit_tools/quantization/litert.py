"""LiteRT: ai-edge-quantizer, on the operators that hold trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.quantizer import Quantizer
from litert_torch.model import DEFAULT_SIGNATURE_NAME

from mobilevit_tools.data.contract import INPUT_NAME
from mobilevit_tools.errors import MvtError, UsageError
from mobilevit_tools.quantization._base import Quantization

_BITS = 8
_OPERATORS = (
    TFLOperationName.CONV_2D,
    TFLOperationName.CONV_2D_TRANSPOSE,
    TFLOperationName.DEPTHWISE_CONV_2D,
    TFLOperationName.FULLY_CONNECTED,
)
_EVERYWHERE = ".*"


def quantize(model: Path, quantization: Quantization, batch: int) -> bytes:
    """Return a float32 model quantized, with a scale for each output channel of a weight.

    Args:
        model: Has one input.
        quantization: What to do.
        batch: Images per inference.

    Raises:
        UsageError: Some operators are to stay in floating point.
    """
    if quantization.keep:
        raise UsageError(
            "LiteRT's artifacts keep no names of weights, so that none can be left in floating point by its name.",
            hint="Omit --max-drop.",
        )
    quantizer = Quantizer(model)
    ranges: dict[str, Any] | None = None
    for operator in _OPERATORS:
        if quantization.calibration is None:
            quantizer.add_weight_only_config(_EVERYWHERE, operator, _BITS)
        else:
            quantizer.add_static_config(_EVERYWHERE, operator, _BITS, _BITS)
    if quantization.calibration is not None:
        # A list: the calibrator goes through its data more than once, and finds nothing in what is used up.
        photos = [{INPUT_NAME: images} for images in quantization.calibration.batches(batch)]
        ranges = quantizer.calibrate({DEFAULT_SIGNATURE_NAME: photos}, num_threads=1)
    quantized = quantizer.quantize(ranges).quantized_model
    if quantized is None:
        raise MvtError("ai-edge-quantizer returned no model.")
    return bytes(quantized)
