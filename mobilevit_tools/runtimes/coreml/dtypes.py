"""Element types of ML Programs: their names here, their width in files, and what carries them while a program runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .schema import data_types


@dataclass(frozen=True)
class ElementType:
    """One element type.

    Attributes:
        name: Our name, as in the ``dtype`` parameter of ``cast``: ``fp16``, ``int32``, ``bool``, ``string``.
        bits: Width of one element in the weight file and in packed immediate values.
        storage: The NumPy type that holds an element once it is unpacked; None for strings.
        blob_code: The weight file's own number for the type; 0 where the file cannot hold it.
    """

    name: str
    bits: int
    storage: type[np.generic] | None
    blob_code: int = 0

    @property
    def is_float(self) -> bool:
        """Whether values are real numbers."""
        return self.name in FLOATS

    @property
    def carrier(self) -> torch.dtype:
        """The torch type that carries values of this type while a program runs.

        Real numbers travel in float32 (fp16 as float32 values that fp16 can represent), integers in int32, which holds
        every narrower type, and 64-bit or unsigned 32-bit integers in int64.
        """
        if self.is_float:
            return torch.float32
        if self.name == "bool":
            return torch.bool
        return torch.int64 if self.name in {"int64", "uint64", "uint32"} else torch.int32


FLOATS = frozenset({"fp16", "fp32", "fp64"})

_TYPES = {
    "FLOAT16": ElementType("fp16", 16, np.float16, 1),
    "FLOAT32": ElementType("fp32", 32, np.float32, 2),
    "FLOAT64": ElementType("fp64", 64, np.float64),
    "BOOL": ElementType("bool", 8, np.bool_),
    "STRING": ElementType("string", 0, None),
    "UINT8": ElementType("uint8", 8, np.uint8, 3),
    "INT8": ElementType("int8", 8, np.int8, 4),
    "INT16": ElementType("int16", 16, np.int16, 6),
    "UINT16": ElementType("uint16", 16, np.uint16, 7),
    "INT4": ElementType("int4", 4, np.int8, 8),
    "UINT1": ElementType("uint1", 1, np.uint8, 9),
    "UINT2": ElementType("uint2", 2, np.uint8, 10),
    "UINT4": ElementType("uint4", 4, np.uint8, 11),
    "UINT3": ElementType("uint3", 3, np.uint8, 12),
    "UINT6": ElementType("uint6", 6, np.uint8, 13),
    "INT32": ElementType("int32", 32, np.int32, 14),
    "UINT32": ElementType("uint32", 32, np.uint32, 15),
    "INT64": ElementType("int64", 64, np.int64),
    "UINT64": ElementType("uint64", 64, np.uint64),
}
BY_NAME = {element.name: element for element in _TYPES.values()}


def element_type(number: int) -> ElementType | None:
    """The element type behind a number of ``MIL.proto``; None for one that this runtime does not know."""
    return _TYPES.get(data_types().get(number, ""))


def unpack(data: bytes, element: ElementType, count: int) -> np.ndarray:
    """Decode ``count`` elements from packed little-endian bytes.

    Elements narrower than a byte fill each byte from its least significant bit upward and may straddle two bytes.

    Raises:
        ValueError: ``data`` is too short, or the type has no numeric storage.
    """
    if element.storage is None or len(data) * 8 < count * element.bits:
        raise ValueError(f"{len(data)} bytes cannot hold {count} elements of {element.name}")
    if element.bits >= 8:
        return np.frombuffer(data, np.dtype(element.storage).newbyteorder("<"), count).astype(element.storage)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * element.bits, bitorder="little")
    values = np.packbits(bits.reshape(count, element.bits), axis=1, bitorder="little")[:, 0]
    if element.name.startswith("int"):
        sign = np.int8(1 << (element.bits - 1))
        return (values.astype(np.int8) ^ sign) - sign
    return values
