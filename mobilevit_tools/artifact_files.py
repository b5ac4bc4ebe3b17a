"""The files of which an artifact consists."""

from __future__ import annotations

from pathlib import Path

_LEFTOVERS = frozenset({".DS_Store", ".localized", "Icon\r", "__MACOSX"})


def artifact_files(path: Path) -> list[Path]:
    """Return an artifact's files, sorted: the file itself, or all files in the folder.

    What Finder and a Mac's archives leave in folders (``.DS_Store``, ``._weight.bin``) is none of it.
    """
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not _is_leftover(file.relative_to(path)))


def _is_leftover(file: Path) -> bool:
    return file.name.startswith("._") or not _LEFTOVERS.isdisjoint(file.parts)
