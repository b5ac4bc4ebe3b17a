"""Libraries load where pages have 16 KB if their segments and their places in an APK are aligned."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from mobilevit_tools.devices.page_size import PAGE, check_libraries
from mobilevit_tools.errors import BadInputError


def library(*alignments: int, bits: int = 64) -> bytes:
    """Return the headers of a library; a note segment, whose alignment is of no matter, comes first."""
    headers = [
        struct.pack("<IIQQQQQQ", kind, 4, 0, 0, 0, 0, 0, size)
        for kind, size in [(4, 4), *((1, each) for each in alignments)]
    ]
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    return ident + header + b"".join(headers)


def apk(path: Path, content: bytes, *, offset: int = 0, method: int = zipfile.ZIP_STORED) -> Path:
    """Write an archive whose library begins at ``offset`` past a multiple of 16 KB."""
    name = "lib/arm64-v8a/libapp.so"
    before = 30 + len(name)
    entry = zipfile.ZipInfo(name)
    entry.compress_type = method
    entry.extra = struct.pack("<HH", 0xD935, PAGE + offset - before - 4) + bytes(PAGE + offset - before - 4)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("alignments", "problem"),
    [
        ((PAGE, PAGE), None),
        ((65536,), None),
        ((PAGE, 4096), "its segments are aligned to 4 KB"),
        ((PAGE + 4096,), "its segments are aligned to 20 KB"),
    ],
)
def test_the_least_aligned_segment_counts(tmp_path: Path, alignments: tuple[int, ...], problem: str | None) -> None:
    path = tmp_path / "libapp.so"
    path.write_bytes(library(*alignments))
    (found,) = check_libraries(path)
    assert found.problem == problem


def test_libraries_of_32_bits_never_run_there(tmp_path: Path) -> None:
    (tmp_path / "libapp.so").write_bytes(library(4096, bits=32))
    (found,) = check_libraries(tmp_path)
    assert found.problem is None


@pytest.mark.parametrize(
    ("suffix", "offset", "method", "problem"),
    [
        ("apk", 0, zipfile.ZIP_STORED, None),
        ("apk", 4096, zipfile.ZIP_STORED, "it lies uncompressed at byte 20,480, which is no multiple of 16 KB"),
        ("apk", 4096, zipfile.ZIP_DEFLATED, None),  # unpacked when it is installed
        ("aar", 4096, zipfile.ZIP_STORED, None),
    ],
)
def test_the_place_in_an_apk_counts(tmp_path: Path, suffix: str, offset: int, method: int, problem: str | None) -> None:
    (found,) = check_libraries(apk(tmp_path / f"app.{suffix}", library(PAGE), offset=offset, method=method))
    assert found.problem == problem


@pytest.mark.parametrize("content", [b"", b"text" * 99, library(PAGE)[:100], library(PAGE)[:32] + b"\xff" * 99])
def test_what_is_no_library_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "libapp.so").write_bytes(content)
    with pytest.raises(BadInputError):
        check_libraries(tmp_path / "libapp.so")
    with pytest.raises(BadInputError):
        check_libraries(apk(tmp_path / "app.apk", content))


def test_damaged_archives_and_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.apk").write_bytes(b"PK\x03\x04nothing")
    written = io.BytesIO()
    zipfile.ZipFile(written, "w").close()
    (tmp_path / "none.apk").write_bytes(written.getvalue())
    for name in ("empty", "broken.apk", "none.apk", "absent.so"):
        with pytest.raises(BadInputError) as refused:
            check_libraries(tmp_path / name)
        assert (refused.value.error_code, "Give a .so" in str(refused.value.hint)) == ("bad_library", True)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler; `make test` installs one")
@pytest.mark.parametrize(("size", "fits"), [(16384, True), (4096, False)])
def test_a_linkers_own_libraries(tmp_path: Path, size: int, fits: bool) -> None:
    source = tmp_path / "app.c"
    source.write_text("int answer(void) { return 42; }\n")
    built = tmp_path / "libapp.so"
    subprocess.run(["gcc", "-shared", f"-Wl,-z,max-page-size={size}", "-o", built, source], check=True)
    (found,) = check_libraries(built)
    assert (found.problem is None) == fits
