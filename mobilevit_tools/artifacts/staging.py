"""Write beside the final name, move into place at the end: an interrupted run leaves nothing that looks finished."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.writing import check_destination, taken

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
"""What renaming a folder says where something else has its name; only an empty folder gives way."""


@dataclass
class Stage:
    """A folder under construction.

    Attributes:
        folder: Where to write.
        keep: Set to False to throw the folder away at the end.
    """

    folder: Path
    keep: bool = True


@contextmanager
def staged_folder(final: Path, *, overwrite: bool) -> Iterator[Stage]:
    """Yield an empty folder beside ``final`` that takes its place when the block ends without an exception.

    Raises:
        BadInputError: The destination cannot be written, or its disk is full.
        UsageError: Something is there already, or is by the end of the block, and ``overwrite`` was not given.
    """
    check_destination(final, overwrite=overwrite)
    missing = [parent for parent in final.parents if not parent.exists()]
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".partial", dir=final.parent))
    except OSError as error:
        raise _unwritable(final.parent, error) from error
    try:
        stage = Stage(folder)
        yield stage
        if stage.keep:
            _move_into_place(folder, final, overwrite=overwrite)
        else:
            _discard(folder, missing)
    except OSError as error:
        _discard(folder, missing)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise _unwritable(final.parent, error) from error
        raise
    except BaseException:
        _discard(folder, missing)
        raise


def _move_into_place(folder: Path, final: Path, *, overwrite: bool) -> None:
    folder.chmod(0o755)
    if overwrite and os.path.lexists(final):
        replaced = folder.with_suffix(".replaced")
        try:
            final.rename(replaced)
            folder.rename(final)
        except BaseException:
            if os.path.lexists(replaced) and not os.path.lexists(final):
                replaced.rename(final)
            raise
        if replaced.is_dir() and not replaced.is_symlink():
            shutil.rmtree(replaced)
        else:
            replaced.unlink()
        return
    try:
        folder.rename(final)
    except OSError as error:
        if error.errno in _TAKEN:
            raise taken(final) from error
        raise


def _discard(folder: Path, created: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for parent in created:
        try:
            parent.rmdir()
        except OSError:  # someone else put something there
            break


def _unwritable(folder: Path, error: OSError) -> BadInputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BadInputError(
            f"No space is left in {folder}.", hint="Free some space, or choose another --output.", code="full"
        )
    return BadInputError(
        f"{folder} cannot be written: {error.strerror}.", hint="Choose another --output.", code="output"
    )
