"""Write beside the final name, move into place at the end: an interrupted run leaves nothing that looks finished."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.writing import check_destination, taken

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
"""What renaming a folder says where something else has its name; only an empty folder gives way."""
_GONE = (errno.ENOENT,)
_PARTIAL = ".partial"


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
        folder = Path(tempfile.mkdtemp(prefix=_prefix(final, os.getpid()), suffix=_PARTIAL, dir=final.parent))
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


def discard_unfinished(final: Path, process: int) -> None:
    """Remove what a process that was killed left unfinished of ``final``."""
    for folder in final.parent.glob(f"{escape(_prefix(final, process))}*{_PARTIAL}"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(final: Path, process: int) -> str:
    return f".{final.name}.{process}."


def _move_into_place(folder: Path, final: Path, *, overwrite: bool) -> None:
    folder.chmod(0o755)
    if not overwrite:
        if not _moves(folder, final, unless=_TAKEN):
            raise taken(final)
        return
    replaced = folder.with_suffix(".replaced")
    try:
        while not _moves(folder, final, unless=_TAKEN):
            remove(replaced)  # from the last turn: another run was quicker, and what it made is replaced, too
            _moves(final, replaced, unless=_GONE)
    except BaseException:
        if os.path.lexists(replaced) and not os.path.lexists(final):
            replaced.rename(final)
        raise
    finally:
        remove(replaced)


def _moves(path: Path, to: Path, *, unless: tuple[int, ...]) -> bool:
    """Rename; tell whether that went well, or met one of the errors ``unless``."""
    try:
        path.rename(to)
    except OSError as error:
        if error.errno in unless:
            return False
        raise
    return True


def remove(path: Path) -> None:
    """Remove a file or folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
