"""Weight files of ML Programs: a header, then for each constant a 64-byte record that points at its bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mobilevit_tools.errors import BadInputError

from .dtypes import ElementType, unpack

_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQ")
_SENTINEL = 0xDEADBEEF
_VERSION = 2


class WeightFile:
    """One open weight file; every offset and size in it is checked against its real size before anything is read.

    Args:
        path: The file.

    Raises:
        BadInputError: The file is too small for its header, or of an unknown version.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._size = path.stat().st_size
        self._file: BinaryIO = path.open("rb")
        if self._size < _HEADER.size or _HEADER.unpack(self._read(0, _HEADER.size))[1] != _VERSION:
            self.close()
            raise BadInputError(f"{self._name} is no weight file of the version that is known ({_VERSION}).")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def array(self, offset: int, element: ElementType, count: int) -> np.ndarray:
        """Decode the constant whose record lies at ``offset``: ``count`` elements, flat.

        Raises:
            BadInputError: The record or its bytes lie beyond the end of the file, or do not fit what the program says.
        """
        sentinel, code, size, start = _RECORD.unpack(self._read(offset, _RECORD.size))
        if sentinel != _SENTINEL:
            raise BadInputError(f"The weight file {self._name} holds no constant at offset {offset}.")
        if code != element.blob_code or code == 0:
            raise BadInputError(
                f"The constant at offset {offset} of {self._name} is not of the type that the program gives it: "
                f"{element.name}."
            )
        if size != -(-count * element.bits // 8):
            raise BadInputError(
                f"The constant at offset {offset} of {self._name} has {size} bytes, "
                f"which do not make {count} elements of {element.name}."
            )
        return unpack(self._read(start, size), element, count)

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self._size:
            raise BadInputError(
                f"The weight file {self._name} is too small: {offset + size} bytes are needed, it has {self._size}.",
                hint="The package was probably cut short while it was copied; export or copy it again.",
            )
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise BadInputError(f"The weight file {self._name} shrank while it was read.")
        return data
