"""One side of a comparison: an artifact, its folder or its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.artifacts.artifact import Artifact
from mobilevit_tools.artifacts.files import MANIFEST_NAME, describe_artifact
from mobilevit_tools.artifacts.manifest import Manifest, read_manifest
from mobilevit_tools.targets.registry import SUFFIXES, target_of


@dataclass(frozen=True)
class Subject:
    """What is compared.

    Attributes:
        path: What was given.
        artifact: The artifact; None where only its manifest is here.
        manifest: Its manifest; None where there is none.
        target: What it was exported to.
        sha256: Digest of the artifact as it is now, or as the manifest has it.
        size_bytes: Its size, likewise.
    """

    path: Path
    artifact: Path | None
    manifest: Manifest | None
    target: str
    sha256: str
    size_bytes: int


def find_subject(path: Path) -> Subject:
    """Find the artifact and the manifest that a path stands for.

    Args:
        path: An artifact, the folder that `mvt export` made for one, or a ``manifest.json``.

    Raises:
        BadInputError: It is none of these, or the manifest is of another file than the one beside it.
    """
    if path.name == MANIFEST_NAME or (path.is_dir() and path.suffix.lower() not in SUFFIXES):
        return _of_manifest(path, path.parent if path.name == MANIFEST_NAME else path)
    found = Artifact(path)
    target, file = found.target.name, found.file
    return Subject(path, path, found.manifest, target, file.sha256, file.size_bytes)


def _of_manifest(path: Path, folder: Path) -> Subject:
    manifest = read_manifest(folder / MANIFEST_NAME)
    stated = manifest.artifact
    artifact = folder / stated.file
    if not artifact.exists():
        return Subject(path, None, manifest, manifest.spec.target, stated.sha256, stated.size_bytes)
    target_of(artifact)
    file = describe_artifact(artifact)
    return Subject(path, artifact, manifest, manifest.spec.target, file.sha256, file.size_bytes)
