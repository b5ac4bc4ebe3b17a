"""Weights of the older neural-network format: plain, half, or quantized by scales or by a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mobilevit_tools.errors import BadInputError

from .mil import MAX_ELEMENTS

if TYPE_CHECKING:
    from google.protobuf.message import Message


def read_weights(message: Message, shape: tuple[int, ...]) -> np.ndarray:
    """Decode weights as float32.

    Args:
        message: A ``WeightParams``.
        shape: What its elements are shaped to; quantized weights have a scale for each index of the first axis, or one.

    Raises:
        BadInputError: It does not hold as many elements as ``shape`` says.
    """
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise BadInputError(f"A layer asks for weights of shape {shape}, which is too large.")
    if message.floatValue:
        values = np.array(message.floatValue, np.float32)
    elif message.float16Value:
        values = np.frombuffer(message.float16Value, "<f2").astype(np.float32)
    elif message.rawValue:
        return _quantized(message.rawValue, message.quantization, shape)
    else:
        raise BadInputError("A layer has no weights, or weights of a kind that this runtime does not read.")
    if values.size != count:
        raise BadInputError(f"A layer has {values.size} weights where its sizes say {count}.")
    return values.reshape(shape)


def _quantized(raw: bytes, quantization: Message, shape: tuple[int, ...]) -> np.ndarray:
    bits, count = int(quantization.numberOfBits), math.prod(shape)
    if not 1 <= bits <= 8 or len(raw) * 8 < count * bits:
        raise BadInputError(f"A layer has {len(raw)} bytes for {count} weights of {bits} bits.")
    if bits == 8:
        codes: np.ndarray = np.frombuffer(raw, np.uint8, count)
    else:  # from the most significant bit of each byte downward
        digits = np.unpackbits(np.frombuffer(raw, np.uint8), count=count * bits).reshape(count, bits)
        codes = np.packbits(digits, axis=1)[:, 0] >> (8 - bits)
    if quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        table = np.array(quantization.lookupTableQuantization.floatValue, np.float32)
        if codes.size and codes.max() >= len(table):
            raise BadInputError(f"A layer has weights beyond its table of {len(table)} values.")
        looked_up: np.ndarray = table[codes].reshape(shape)
        return looked_up
    linear = quantization.linearQuantization
    scale, bias = (np.array(values, np.float32) for values in (linear.scale, linear.bias))
    rows = codes.reshape(shape[0], -1).astype(np.float32)
    if not scale.size or {scale.size, bias.size or 1} - {1, shape[0]}:
        raise BadInputError(f"A layer has {scale.size} scales for {shape[0]} outputs.")
    values: np.ndarray = rows * scale.reshape(-1, 1) + (bias.reshape(-1, 1) if bias.size else 0)
    return values.reshape(shape)
