"""What people write in place of a model's name, taken apart: importing this module imports no framework.

``arch`` and ``arch.tag`` are models of ours or what an installed package registers, ``path/to/net.py:build`` is a
function of a file, and ``PREFIX:NAME`` is a model of a source (:mod:`mobilevit_tools.models.sources`).
"""

from __future__ import annotations

import re
from pathlib import Path

from mobilevit_tools.models.sources.registry import SOURCES

_FILE_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)", re.DOTALL)
_SOURCED = re.compile(r"(?P<prefix>[A-Za-z][\w-]+):(?P<name>.+)", re.ASCII | re.DOTALL)  # C:\ is a drive
_FOLDERS = ("/", "./", "../", "~/")


def is_file_reference(name: str) -> bool:
    """Tell whether ``name`` is of the form ``path/to/net.py:build``."""
    return _FILE_REFERENCE.fullmatch(name) is not None


def split_file(name: str) -> tuple[Path, str]:
    """Return the file and the function of ``path/to/net.py:build``.

    Raises:
        ValueError: It is not of that form.
    """
    found = _FILE_REFERENCE.fullmatch(name)
    if found is None:
        raise ValueError(name)
    return Path(found["file"]), found["function"]


def split_source(name: str) -> tuple[str, str] | None:
    """Return the prefix of a source and a model's name in it; None for a file's function and a plain name."""
    found = None if is_file_reference(name) else _SOURCED.fullmatch(name)
    return None if found is None else (found["prefix"], found["name"])


def is_folder(name: str) -> bool:
    """Tell whether a source's model is a folder on this machine: one that is there, or a name that can be no other."""
    return "/" not in name or name.startswith(_FOLDERS) or Path(name).is_dir()


def path_in(name: str) -> str | None:
    """Return the path of the file or folder that a model comes from; None where its name holds none.

    Such a model is only built when people name it themselves: an artifact's manifest keeps a name without the path.
    """
    if is_file_reference(name):
        return name.rpartition(":")[0]
    prefix, rest = split_source(name) or ("", "")
    return rest if prefix in SOURCES and SOURCES[prefix].folders and is_folder(rest) else None


def with_path(name: str, path: str) -> str:
    """Return the name of the same model with another path in place of :func:`path_in`'s."""
    if is_file_reference(name):
        return f"{path}:{name.rpartition(':')[2]}"
    return f"{name.partition(':')[0]}:{path}"


def short_name(name: str) -> str:
    """Return a name without a path: ``net.py:build`` for ``path/to/net.py:build``, ``hf:folder`` for a folder."""
    path = path_in(name)
    return name if path is None else with_path(name, Path(path).name)


def folder_name(name: str) -> str:
    """Return a name for a model's folder that is safe on every file system: ``net_build`` for ``net.py:build``."""
    if is_file_reference(name):
        file, function = split_file(name)
        name = f"{file.stem}_{function}"
    return re.sub(r"[^\w.-]+", "_", short_name(name))
