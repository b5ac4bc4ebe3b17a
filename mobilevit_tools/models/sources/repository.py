"""The files of one model, on the Hugging Face Hub or in a folder: read as data, bounded in size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilevit_tools.documents import DocumentKind, read_document
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import hub
from mobilevit_tools.models.folders import inside

CONFIGURATION = DocumentKind(
    "the configuration of a model",
    "own_model",
    "Download the folder again, or write it with save_pretrained().",
    max_bytes=8 * 1024**2,
)
_LICENSE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)


class Repository:
    """A repository of the Hub, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, or a folder laid out like one.

    Args:
        name: What people call it.
        folder: The folder; None for the Hub.
    """

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name = name
        self._folder = folder

    def path(self, file: str) -> Path | None:
        """Return where a file is on this machine, fetched where it is not; None where there is none.

        Raises:
            BadInputError: The Hub has no such repository or cannot be reached, or the file leads out of the folder.
        """
        if self._folder is not None:
            return inside(self._folder, file) if (self._folder / file).is_file() else None
        found = hub.first_of(self._name, [file])
        return None if found is None else found[1]

    def json(self, file: str) -> dict[str, Any] | None:
        """Return an object that a file holds; None where there is no such file.

        Raises:
            BadInputError: It holds something else.
        """
        path = self.path(file)
        if path is None:
            return None
        content = read_document(path, CONFIGURATION)
        if not isinstance(content, dict):
            raise BadInputError(f"The {file} of {self._name} holds no object.", code="own_model")
        return content

    def address_of(self, files: Sequence[str]) -> str | None:
        """Return the first of some files as ``--checkpoint`` takes it; None where there is none."""
        if self._folder is None:
            found = hub.first_of(self._name, files)
            return None if found is None else found[0]
        return next((str(inside(self._folder, file)) for file in files if (self._folder / file).is_file()), None)

    def license(self) -> str | None:
        """Return the licence that the repository's card states.

        Returns:
            None where the card is silent, where there is none, and where it can't be had: the libraries keep a model
            in the Hub's cache without its card, and a licence is no reason to refuse what is there.
        """
        try:
            path = self.path("README.md")
        except BadInputError as error:
            if error.error_code != hub.NOT_IN_CACHE:
                raise
            return None
        if path is None or path.stat().st_size > CONFIGURATION.max_bytes:
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
        head = text.partition("\n---")[0] if text.startswith("---") else ""
        found = _LICENSE.search(head)
        return None if found is None else found[1]
