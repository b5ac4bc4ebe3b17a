"""What a session and the process that does its work say to each other: a line of JSON, then the bytes of arrays.

Nothing of it is ever run or unpickled: the process at the other end may have been upset by a damaged artifact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_ARRAY_BYTES = 4 * 1024**3
_NUMBERS = "biufc"


class FrameError(ValueError):
    """What arrived is no message."""


def write_frame(stream: BinaryIO, header: Mapping[str, object], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """Send a message.

    Raises:
        FrameError: An array holds something else than numbers.
        OSError: Nobody listens any more.
    """
    if not all(array.dtype.kind in _NUMBERS for array in arrays):
        raise FrameError("only arrays of numbers can be sent")
    kept = [np.asarray(array, order="C") for array in arrays]
    described = [{"dtype": array.dtype.str, "shape": array.shape} for array in kept]
    stream.write(json.dumps({**header, "arrays": described}).encode() + b"\n")
    for array in kept:
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Receive a message.

    Raises:
        EOFError: Nobody speaks any more.
        FrameError: What arrived is no message, or one that is too large.
    """
    line = stream.readline(MAX_HEADER_BYTES)
    if not line.endswith(b"\n"):
        if len(line) == MAX_HEADER_BYTES:
            raise FrameError("a header of more than 64 MB")
        raise EOFError
    try:
        header = json.loads(line)
        described = [(np.dtype(str(each["dtype"])), tuple(each["shape"])) for each in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FrameError("a header that cannot be read") from error
    return header, [_read_array(stream, dtype, shape) for dtype, shape in described]


def _read_array(stream: BinaryIO, dtype: np.dtype[Any], shape: tuple[Any, ...]) -> NDArray[Any]:
    if dtype.kind not in _NUMBERS or not all(type(size) is int and size >= 0 for size in shape):
        raise FrameError("a non-numeric array")
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_ARRAY_BYTES:
        raise FrameError("an array of more than 4 GB")
    content = bytearray(size)
    view, start = memoryview(content), 0
    while start < size:
        count = stream.readinto(view[start:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        start += count
    return np.frombuffer(content, dtype).reshape(shape)
