"""An artifact on disk: what is known of it without running it, read once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.artifacts.files import ArtifactFile, describe_artifact
from mobilevit_tools.artifacts.manifest import Manifest, find_manifest
from mobilevit_tools.errors import BadInputError, MvtError
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.registry import target_of

if TYPE_CHECKING:
    from mobilevit_tools.runtimes._base import Session
    from mobilevit_tools.targets._base import Target

_UNUSABLE = ("unloadable_artifact", "crash", "hang", "out_of_memory")


class Artifact:
    """An artifact on disk.

    Attributes:
        path: The file, or the folder of a target whose artifacts are folders.
    """

    def __init__(self, path: Path) -> None:
        """Name it; nothing is read yet."""
        self.path = path

    @cached_property
    def target(self) -> Target:
        """What it was exported to.

        Raises:
            BadInputError: It is missing, or of no target.
        """
        return target_of(self.path)

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest beside it; None where there is none, or that of another file.

        Raises:
            BadInputError: There is one, and it is damaged.
        """
        return find_manifest(self.path)

    @cached_property
    def file(self) -> ArtifactFile:
        """Its name, digest and size when this was first asked for."""
        return describe_artifact(self.path)

    @property
    def is_described(self) -> bool | None:
        """Whether it is the file that its manifest describes; None without a manifest."""
        return None if self.manifest is None else self.manifest.artifact == self.file

    def check(self) -> None:
        """Refuse an artifact that is not the one that its manifest describes.

        Raises:
            BadInputError: It is another.
        """
        if self.manifest is not None and not self.is_described:
            raise self._changed(self.manifest)

    def open(self, *, threads: int = 1) -> Session:
        """Load it into its runtime; close the session when done.

        Raises:
            BadInputError: It is not what its target's runtime loads.
            MissingDependencyError: The runtime is not installed.
        """
        return open_session(self.path, threads=threads)

    @contextmanager
    def naming_changes(self) -> Iterator[None]:
        """Say of an artifact that cannot be opened or run, first of all, that it is not what its manifest describes.

        Raises:
            BadInputError: It is not, in place of what the context raised.
        """
        try:
            yield
        except MvtError as error:
            if self.manifest is None or error.error_code not in _UNUSABLE or self.is_described:
                raise
            raise self._changed(self.manifest) from error

    def _changed(self, manifest: Manifest) -> BadInputError:
        return BadInputError(
            f"{self.path} is not the file that its manifest describes: sha256 {self.file.sha256[:12]} "
            f"in place of {manifest.artifact.sha256[:12]}.",
            hint="It may be damaged: copy or export it again. If you changed it yourself, `mvt verify` checks whether "
            "it still computes the model, and without its manifest.json it is taken as it is.",
            code="digest",
        )
