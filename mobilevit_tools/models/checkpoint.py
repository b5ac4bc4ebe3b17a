"""Checkpoint intake: find the weights in every layout that people really have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import distributed, folders, hub
from mobilevit_tools.models.containers import select
from mobilevit_tools.models.decoding import decode
from mobilevit_tools.models.keys import class_rows
from mobilevit_tools.paths import hint_for_missing

MAX_BYTES = 8 * 1024**3
MAX_CLASSES = 250_000  # a model is built for a file's class count before its other shapes are compared


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one file.

    Attributes:
        state_dict: Tensors by key, in the file's own types and under the file's own keys: what wrapped them is known
            only beside a model (:func:`~mobilevit_tools.models.loading.fit`).
        source: The path or address that was read.
        sha256: Digest of the file; of sharded weights, of the index and its files.
        ema: Whether the exponential moving average of the weights was taken; None where the file tells of none.
        asked_ema: Which was asked for, see :func:`read_checkpoint`; a state dict may hold both under prefixes, which
            is known only beside a model as well.
    """

    state_dict: Mapping[str, Tensor]
    source: str
    sha256: str
    ema: bool | None
    asked_ema: bool | None = None

    def class_count(self, classifier: str) -> int | None:
        """Return the rows of the linear layer at prefix ``classifier``; None where there is no such layer.

        Raises:
            BadInputError: There are too many to build a model of.
        """
        rows = class_rows(self.state_dict, classifier)
        if rows is not None and rows > MAX_CLASSES:
            raise BadInputError(f"{self.source} claims {rows} classes, more than {MAX_CLASSES}.", code="class_count")
        return rows


def read_checkpoint(source: str, *, ema: bool | None = None) -> Checkpoint:
    """Read a state dict from a ``.pth``, ``.pt``, ``.pth.tar`` or ``.safetensors`` file, judged by its content.

    An index of sharded weights, a folder as Hugging Face's libraries save it, or a distributed checkpoint is read as
    the one checkpoint that it is.

    Args:
        source: A path, ``hf://owner/repo/file`` or ``hf://owner/repo@revision/file``.
        ema: Take the exponential moving average of the weights (True), the raw weights (False), or the average
            where there is one (None).

    Raises:
        BadInputError: The file is missing, damaged, no checkpoint, a pickle that wants to run code, or it lacks the
            weights that ``ema`` asks for.
        MissingDependencyError: ``hf://`` without ``huggingface_hub``.
    """
    path = hub.download(source) if source.startswith(hub.SCHEME) else Path(source)
    if path.suffix == ".distcp" or (path / distributed.INDEX).is_file():
        return _read_distributed(path if path.is_dir() else path.parent, source, ema)
    if path.is_dir():
        path = folders.checkpoint_in(path)
    content = _read(path)
    shards = folders.read_index(content, source)
    if shards is None:
        state_dict, took_ema = select(decode(content, source), source, ema)
        _check_sizes(state_dict, source, len(content))
        return Checkpoint(state_dict, source, hashlib.sha256(content).hexdigest(), took_ema, ema)
    if ema:
        raise BadInputError(
            f"{source} contains no moving average (EMA) of the weights.", hint="Give --no-ema.", code="no_ema"
        )
    return _read_shards(path, source, content, shards, ema)


def _read_distributed(folder: Path, source: str, ema: bool | None) -> Checkpoint:
    total = 0

    def read(path: Path) -> bytes:
        nonlocal total
        content = _read(path)
        total += len(content)
        if total > MAX_BYTES:
            raise BadInputError(f"{source} is larger than {MAX_BYTES // 1024**3} GiB.", code="not_a_checkpoint")
        return content

    content, digest = distributed.read_folder(folder, read)
    state_dict, took_ema = select(content, source, ema)
    return Checkpoint(state_dict, source, digest, took_ema, ema)


def _read_shards(path: Path, source: str, index: bytes, shards: Mapping[str, str], ema: bool | None) -> Checkpoint:
    """Read weights that are spread over several files; their digest is that of the index and of all files in order."""
    state_dict: dict[str, Tensor] = {}
    digest, total = hashlib.sha256(index), 0
    for name in sorted(set(shards.values())):
        content = _read(_sibling(path, source, name))
        total += len(content)
        if total > MAX_BYTES:
            raise BadInputError(f"{source} is larger than {MAX_BYTES // 1024**3} GiB.", code="not_a_checkpoint")
        digest.update(content)
        tensors, _ = select(decode(content, name), name, None)
        _check_sizes(tensors, name, len(content))
        wanted = [key for key, shard in shards.items() if shard == name]
        if lacking := [key for key in wanted if key not in tensors]:
            raise BadInputError(
                f"{name} lacks {lacking[0]}, which {source} lists.",
                hint="Download all files of the checkpoint again.",
                code="damaged_checkpoint",
            )
        state_dict |= {key: tensors[key] for key in wanted}
    return Checkpoint(state_dict, source, digest.hexdigest(), None, ema)


def _sibling(path: Path, source: str, name: str) -> Path:
    """Return the path of a file beside an index, fetched where the index was."""
    beside = folders.inside(path.parent, name)
    return hub.download(f"{source.rpartition('/')[0]}/{name}") if source.startswith(hub.SCHEME) else beside


def _check_sizes(state_dict: Mapping[str, Tensor], source: str, size: int) -> None:
    for key, tensor in state_dict.items():
        if tensor.nbytes > size:  # strides of zero make a tensor of any size from one number
            raise BadInputError(
                f"{source} claims {tensor.nbytes} bytes for {key}, more than the size of the file.",
                code="checkpoint_expands",
            )


def _read(path: Path) -> bytes:
    if not path.exists():
        raise BadInputError(
            f"There is no checkpoint at {path}.", hint=hint_for_missing(path), code="no_such_checkpoint"
        )
    if not path.is_file():
        raise BadInputError(f"{path} is not a regular file.", code="not_a_checkpoint")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(f"{path} is larger than {MAX_BYTES // 1024**3} GiB.", code="not_a_checkpoint")
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.", code="unreadable_checkpoint") from error
