"""Write files for people: refused before any work is done for them, whole or not at all, and never unasked."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mobilevit_tools.errors import BadInputError, UsageError


def check_destination(final: Path, *, overwrite: bool) -> None:
    """Refuse a destination that cannot or must not be written, before any work is done for it.

    Raises:
        BadInputError: A part of the path is a file, or a folder that cannot be written.
        UsageError: Something is there already and ``overwrite`` was not given.
    """
    for parent in final.parents:
        if parent.exists():
            if not parent.is_dir():
                raise BadInputError(f"{parent} is a file, not a folder.", hint="Choose another path.", code="output")
            if not os.access(parent, os.W_OK):
                message = f"{final} cannot be written: no permission in the folder {parent.absolute()}."
                raise BadInputError(message, hint="Choose another path.", code="output")
            break
    if os.path.lexists(final) and not overwrite:
        raise taken(final)


def check_file(final: Path, *, overwrite: bool) -> None:
    """Refuse a file's destination as :func:`check_destination` does, and what is there and is no file.

    Raises:
        BadInputError: It cannot be written, or is a folder or a device.
        UsageError: Something is there already and ``overwrite`` was not given.
    """
    check_destination(final, overwrite=overwrite)
    if final.exists() and not final.is_file():
        raise BadInputError(f"{final} is not a file.", hint="Choose another path.", code="output")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its final name and move it, so that what has that name is whole.

    Raises:
        BadInputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise BadInputError(f"{path.parent} cannot be written: {error.strerror}.", code="output") from error
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}.", code="output") from error
    finally:
        beside.unlink(missing_ok=True)


def taken(final: Path) -> UsageError:
    """Return the error of a destination where something is already."""
    return UsageError(
        f"{final} already exists.", hint="Add --overwrite to replace it, or choose another path.", code="exists"
    )
