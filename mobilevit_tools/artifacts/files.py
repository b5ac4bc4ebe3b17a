"""The files of which an artifact consists, and their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath

from mobilevit_tools.errors import BadInputError

MANIFEST_NAME = "manifest.json"

_LEFTOVERS = frozenset({".DS_Store", ".localized", "Icon\r", "__MACOSX"})


@dataclass(frozen=True)
class ArtifactFile:
    """The artifact itself.

    Attributes:
        file: Its name beside the manifest.
        sha256: Its digest; of a folder, the digest of its files' names and digests.
        size_bytes: Its size, all files of a folder together.

    Raises:
        BadInputError: The name is that of no file beside the manifest.
    """

    file: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse what leads to another folder, or to the manifest itself."""
        if self.file != PurePath(self.file).name or self.file in ("", "..", MANIFEST_NAME):
            raise BadInputError("It references an artifact outside of its folder.", code="bad_manifest")


def artifact_files(path: Path) -> list[Path]:
    """Return an artifact's files, sorted: the file itself, or all files in the folder.

    What Finder and a Mac's archives leave in folders (``.DS_Store``, ``._weight.bin``) is none of it.
    """
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not _is_leftover(file.relative_to(path)))


def _is_leftover(file: Path) -> bool:
    return file.name.startswith("._") or not _LEFTOVERS.isdisjoint(file.parts)


def describe_artifact(path: Path) -> ArtifactFile:
    """Measure and digest an artifact, a file or a folder."""
    files = artifact_files(path)
    size = sum(file.stat().st_size for file in files)
    if path.is_file():
        return ArtifactFile(path.name, _sha256(path), size)
    lines = (f"{_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return ArtifactFile(path.name, hashlib.sha256("".join(lines).encode()).hexdigest(), size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
