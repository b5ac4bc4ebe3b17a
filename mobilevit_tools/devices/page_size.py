"""Whether an Android app's libraries load on phones with pages of 16 KB.

Google Play asks for it of apps for Android 15 and later: the loadable segments of every 64-bit library must be aligned
to 16 KB, and so must libraries that lie uncompressed in an APK
(https://developer.android.com/guide/practices/page-sizes).
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mobilevit_tools.documents import DocumentKind

PAGE = 16 * 1024
ARCHIVES = (".aab", ".aar", ".apk")
ALIGNED_IN_PLACE = ".apk"
"""The archive from which a phone maps libraries as they lie in it."""
MAX_LIBRARIES = 10_000

_MAGIC = b"\x7fELF"
_CLASS_64 = 2
_LOAD = 1
_HEADER = 64
_MOST_HEADERS = 1 << 20
_LOCAL_HEADER = 30
_KIND = DocumentKind(
    "an app's libraries",
    "bad_library",
    hint="Give a .so, .apk, .aar or .aab file that an Android build made, or a folder of them.",
)


@dataclass(frozen=True)
class Library:
    """One library of an app.

    Attributes:
        name: Its path, in its archive where it is in one.
        problem: Why it does not load where pages have 16 KB; None where it does, or is of 32 bits, which no phone with
            such pages runs.
    """

    name: str
    problem: str | None


def check_libraries(path: Path) -> tuple[Library, ...]:
    """Check a library, an APK, AAR or AAB, or every one of them in a folder.

    Raises:
        BadInputError: There is none, or one cannot be read.
    """
    if not path.exists():
        raise _KIND.error(f"{path} does not exist.")
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.suffix in (".so", *ARCHIVES))
    found: list[Library] = []
    for file in files:
        for library in _of_archive(file) if file.suffix in ARCHIVES else [_of_file(file)]:
            found.append(library)
            if len(found) > MAX_LIBRARIES:
                raise _KIND.error(f"{path} has more than {MAX_LIBRARIES} libraries.")
    if not found:
        raise _KIND.error(f"{path} has no native library.")
    return tuple(found)


def _of_file(path: Path) -> Library:
    try:
        with path.open("rb") as file:
            return Library(str(path), _problem(file, str(path)))
    except OSError as error:
        raise _KIND.error(f"{path} cannot be read: {error.strerror}.") from error


def _of_archive(path: Path) -> Iterator[Library]:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for entry in archive.infolist():
                if not entry.filename.endswith(".so"):
                    continue
                name = f"{path}: {entry.filename}"
                with archive.open(entry) as file:
                    problem = _problem(file, name)
                if problem is None and path.suffix == ALIGNED_IN_PLACE and entry.compress_type == zipfile.ZIP_STORED:
                    problem = _misplaced(raw, entry, name)
                yield Library(name, problem)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise _KIND.error(f"{path} is not a readable archive: {error}.") from error


def _problem(file: IO[bytes], name: str) -> str | None:
    header = file.read(_HEADER)
    if len(header) < _HEADER or header[:4] != _MAGIC:
        raise _KIND.error(f"{name} is not a native library.")
    if header[4] != _CLASS_64:
        return None
    if header[5] != 1:
        raise _KIND.error(f"{name} is not of a little-endian system, as Android is.")
    start, size, count = (*struct.unpack_from("<Q", header, 32), *struct.unpack_from("<HH", header, 54))
    end = start + size * count
    if start < _HEADER or size < 56 or end > _MOST_HEADERS:
        raise _KIND.error(f"{name} has no usable program headers.")
    table = (header + file.read(end - _HEADER))[start:end]
    if len(table) < size * count:
        raise _KIND.error(f"{name} ends within its program headers.")
    alignments: list[int] = []
    for place in range(count):
        (kind,) = struct.unpack_from("<I", table, place * size)
        if kind == _LOAD:
            alignments += struct.unpack_from("<Q", table, place * size + 48)
    least = min(alignments, default=PAGE)
    return None if least >= PAGE and least % PAGE == 0 else f"its segments are aligned to {least / 1024:g} KB"


def _misplaced(raw: IO[bytes], entry: zipfile.ZipInfo, name: str) -> str | None:
    raw.seek(entry.header_offset)
    local = raw.read(_LOCAL_HEADER)
    if len(local) < _LOCAL_HEADER:
        raise _KIND.error(f"{name} ends within its header.")
    lengths = struct.unpack_from("<HH", local, 26)
    offset = entry.header_offset + _LOCAL_HEADER + sum(lengths)
    return None if offset % PAGE == 0 else f"it lies uncompressed at byte {offset:,}, which is no multiple of 16 KB"
