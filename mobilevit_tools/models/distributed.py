"""Distributed checkpoints of torch: a folder of ``.distcp`` files, and a pickle that says where in them each tensor is.

The pickle is read by an unpickler that knows no code at all: every object in it is a plain record of its fields.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError, first_line
from mobilevit_tools.models import folders, pickles
from mobilevit_tools.models.decoding import decode

INDEX = ".metadata"
MAX_INDEX_BYTES = 64 * 1024**2
_METADATA, _FILES = "torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"
_SKIPPED = ("optim", "scheduler")
"""Parts that are larger than the weights and of no use here."""


class _Record:
    """Stands in for every object; the fields that the pickle states are its attributes."""

    def __setstate__(self, state: object) -> None:
        """Take fields by name; those of a tensor's properties have none, and are not needed."""
        if isinstance(state, dict):
            vars(self).update(state)


def _nothing(*_: object) -> None:
    """Stand in for what a tensor's place does not depend on, such as its layout."""


_KNOWN: Mapping[str, Callable[..., object]] = {
    f"{_METADATA}.Metadata": _Record,
    f"{_METADATA}.TensorStorageMetadata": _Record,
    f"{_METADATA}.BytesStorageMetadata": _Record,
    f"{_METADATA}.TensorProperties": _Record,
    f"{_METADATA}.ChunkStorageMetadata": _Record,
    f"{_METADATA}.MetadataIndex": _Record,
    f"{_METADATA}.StorageMeta": _Record,
    f"{_METADATA}._MEM_FORMAT_ENCODING": _nothing,
    f"{_FILES}._StorageInfo": _Record,
    "torch.Size": tuple,
    "torch.serialization._get_layout": _nothing,
    "pathlib.PosixPath": _nothing,
    "pathlib.PurePosixPath": _nothing,
    "pathlib.WindowsPath": _nothing,
    "pathlib._local.PosixPath": _nothing,
    "pathlib._local.WindowsPath": _nothing,
    "collections.OrderedDict": dict,
}


class _Unpickler(pickle._Unpickler):  # the one in Python: the other allocates what a pickle claims to remember
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in pickles.TENSOR_GLOBALS and full not in _KNOWN:  # such as a type, which parts have themselves
            return _nothing
        if full not in _KNOWN:
            raise BadInputError(
                f"{INDEX} of a distributed checkpoint is a pickle that would execute {full}; it was not executed.",
                code="unsafe_checkpoint",
            )
        return _KNOWN[full]


@dataclass(frozen=True)
class _Piece:
    """A part of a tensor: where it is stored, and where in the tensor it belongs."""

    file: str
    start: int
    length: int
    at: tuple[int, ...]


@dataclass(frozen=True)
class _Place:
    """A tensor's path in the dictionary that was saved, its shape, and its parts."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    pieces: tuple[_Piece, ...]


def read_folder(folder: Path, read: Callable[[Path], bytes]) -> tuple[dict[str, Any], str]:
    """Read the tensors of a distributed checkpoint into the dictionary that was saved.

    Args:
        folder: The folder.
        read: Reads a file of bounded size.

    Returns:
        The dictionary without what is no tensor or an optimizer's, and the digest of the index and its files in order.

    Raises:
        BadInputError: The folder is damaged, or its index wants more than to say where tensors are.
    """
    index = read(folders.inside(folder, INDEX))
    if len(index) > MAX_INDEX_BYTES:
        raise BadInputError(f"{folder / INDEX} is larger than {MAX_INDEX_BYTES} bytes.", code="not_a_checkpoint")
    try:
        places = list(_places(_Unpickler(io.BytesIO(index)).load()))
        names = sorted({piece.file for place in places for piece in place.pieces})
        files = {name: read(folders.inside(folder, name)) for name in names}
        content: dict[str, Any] = {}
        for place in places:
            within = content if len(place.path) == 1 else content.setdefault(place.path[0], {})
            within[".".join(place.path[1:]) or place.path[0]] = _assembled(place, files)
    except BadInputError:
        raise
    except Exception as error:  # a garbled pickle can raise nearly anything
        raise BadInputError(
            f"{folder} is a distributed checkpoint that cannot be read: {first_line(error)}.",
            hint="Where it was saved, if you trust it, make one file of it: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pth",
            code="distributed_checkpoint",
        ) from error
    digest = hashlib.sha256(index)
    for each in files.values():
        digest.update(each)
    return content, digest.hexdigest()


def _places(metadata: Any) -> Iterator[_Place]:
    pieces: dict[str, list[_Piece]] = {}
    for key, stored in metadata.storage_data.items():
        if getattr(stored, "transform_descriptors", None):
            raise ValueError("its files are compressed")
        at = tuple(getattr(key, "offset", None) or ())
        pieces.setdefault(key.fqn, []).append(_Piece(stored.relative_path, stored.offset, stored.length, at))
    for name, described in metadata.state_dict_metadata.items():
        path = tuple(map(str, (getattr(metadata, "planner_data", None) or {}).get(name, (name,))))
        if hasattr(described, "size") and not any(word in part for part in path[:-1] for word in _SKIPPED):
            yield _Place(path, tuple(described.size), tuple(pieces[name]))


def _assembled(place: _Place, files: Mapping[str, bytes]) -> Tensor:
    """Put a tensor together from its parts, each a file of torch.save within a file."""
    whole: Tensor | None = None
    covered = 0
    for piece in place.pieces:
        part = decode(files[piece.file][piece.start : piece.start + piece.length], piece.file)
        if not isinstance(part, Tensor) or part.nbytes > piece.length:
            raise ValueError("a part of it is not a tensor")
        if whole is None:
            if math.prod(place.shape) * part.element_size() > sum(map(len, files.values())):
                raise ValueError("it declares more data than its files contain")
            whole = torch.zeros(place.shape, dtype=part.dtype)
        at = piece.at or (0,) * part.ndim
        within = whole[tuple(slice(start, start + side) for start, side in zip(at, part.shape, strict=True))]
        within.copy_(part.reshape(within.shape))
        covered += part.numel()
    if whole is None or covered != whole.numel():
        raise ValueError("parts of it are missing")
    return whole
