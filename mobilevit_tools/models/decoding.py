"""From a checkpoint file's bytes to the object that it holds, judged by content and never by name, running no code."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import other_files, pickles
from mobilevit_tools.models.learnt import without_learnt

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of torch.save's files before torch 1.6
_LEGACY_MAGIC_AT = (2, 11)  # behind the protocol, and from protocol 4 on behind a frame's length
_LEGACY_PICKLES = 5  # magic number, protocol, system information, the object, its storages' keys
_MAX_SAFETENSORS_HEADER = 100_000_000
_MAX_PROTOCOL = 3  # the highest whose instructions torch's weights-only loader knows
_COPY_HINT = "Copy or download it again and compare its digest."


@dataclass(frozen=True)
class _Scan:
    """What a file's pickle wants to import, and its protocol."""

    wanted: list[str]
    protocol: int


def decode(content: bytes, source: str) -> object:
    """Return the object in a file of torch.save (either format) or safetensors.

    Raises:
        BadInputError: The content is damaged, something else, or a pickle that wants more than tensors; the message
            begins with ``source``.
    """
    if content.startswith(_ZIP_MAGIC):
        return _torch_load(content, _scan_archive(content, source), source)
    if content.startswith(b"\x80") and any(content.startswith(_LEGACY_MAGIC, at) for at in _LEGACY_MAGIC_AT):
        return _torch_load(content, _scan_legacy(content, source), source)
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= _MAX_SAFETENSORS_HEADER:
        try:
            return without_learnt(safetensors_torch.load(content))
        except (SafetensorError, KeyError, ValueError) as error:
            raise _damaged(source, f"safetensors says {str(error).strip()!r}") from error
    if content.startswith(b"\x80"):
        _refuse_unsafe(_pickle_globals(io.BytesIO(content), source), source)
    raise _no_checkpoint(source, *other_files.describe(content))


def _scan_archive(content: bytes, source: str) -> _Scan:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _damaged(source, "it is a truncated zip archive, or its directory is damaged") from error
    pickled = [entry for entry in entries if entry.filename.partition("/")[2] == "data.pkl"]
    if len(pickled) != 1 or any(entry.filename.partition("/")[2] == "constants.pkl" for entry in entries):
        raise _no_checkpoint(source, *other_files.describe_archive([entry.filename for entry in entries]))
    # torch.save stores its records as they are, so an honest archive never holds more than the file's own size.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
        sum(entry.file_size for entry in entries) > len(content)
    ):
        raise BadInputError(
            f"{source} is a compressed archive, which torch.save never writes.",
            hint="Load it where it was created and save it again with torch.save.",
            code="checkpoint_expands",
        )
    for entry in entries:
        # torch.load does not check these sums; a zero stands for a file that was saved without them.
        if entry.CRC and zlib.crc32(_record(content, entry)) != entry.CRC:
            raise _damaged(source, f"the checksum of its record {entry.filename} is wrong")
    record = _record(content, pickled[0])
    return _Scan(_pickle_globals(io.BytesIO(record), source), pickles.protocol(bytes(record[:2])))


def _record(content: bytes, entry: zipfile.ZipInfo) -> memoryview:
    """Return a stored record's bytes; a local header has 30 bytes and two fields whose lengths it ends with."""
    lengths = content[entry.header_offset + 26 : entry.header_offset + 30]
    start = entry.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return memoryview(content)[start : start + entry.file_size]


def _scan_legacy(content: bytes, source: str) -> _Scan:
    stream = io.BytesIO(content)
    wanted = [name for _ in range(_LEGACY_PICKLES) for name in _pickle_globals(stream, source)]
    return _Scan(wanted, pickles.protocol(content[:2]))


def _pickle_globals(stream: io.BytesIO, source: str) -> list[str]:
    try:
        return list(pickles.wanted_globals(stream))
    except (ValueError, KeyError, IndexError) as error:
        raise _damaged(source, "its pickle is truncated or damaged") from error


def _refuse_unsafe(wanted: list[str], source: str) -> None:
    refused = pickles.refused_globals(wanted)
    if refused:
        raise BadInputError(
            f"{source} is a pickle that would execute {', '.join(refused[:5])}; it was not executed.",
            hint="If it contains a model that you trust, load it in its training environment and save its weights with "
            "torch.save(model.state_dict(), 'weights.pth').",
            code="unsafe_checkpoint",
        )


def _torch_load(content: bytes, scan: _Scan, source: str) -> object:
    _refuse_unsafe(scan.wanted, source)
    if scan.protocol > _MAX_PROTOCOL:
        raise BadInputError(
            f"{source} was saved with pickle protocol {scan.protocol}, which torch's safe loader does not read.",
            hint="Load it where it was saved, if you trust it, and save it again without pickle_protocol: "
            "torch.save(weights, 'weights.pth').",
            code="pickle_protocol",
        )
    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (stand_in, name) for name, stand_in in pickles.HARMLESS_GLOBALS.items()
    ]
    with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # From memory, not from the path: torch.load also unpacks tar archives when it is given a file.
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # a garbled pickle can raise nearly anything
            said = str(error).partition("\n")[0][:200] or type(error).__name__
            raise _damaged(source, f"torch.load says {said!r}") from error


def _damaged(source: str, why: str) -> BadInputError:
    return BadInputError(
        f"{source} is a truncated or damaged checkpoint: {why}.", hint=_COPY_HINT, code="damaged_checkpoint"
    )


def _no_checkpoint(source: str, what: str, hint: str | None) -> BadInputError:
    return BadInputError(f"{source} {what}.", hint=hint, code="not_a_checkpoint")
