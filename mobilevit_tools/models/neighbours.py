"""What the files of own models import from the folders that they stand in.

Two folders may each have a ``layers.py``, and Python knows one module of a name: the second file would be given what
the first imported. Here each folder has modules of its own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType

_IMPORTED: dict[Path, dict[str, ModuleType]] = {}
"""The modules that were imported from each folder, by name."""


def module_name(path: Path) -> str:
    """Return the name in ``sys.modules`` for the file at ``path``, which no file elsewhere has."""
    digest = sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"_mobilevit_tools_own_{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}_{digest}"


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours, as it could when run by Python, and never those of a file elsewhere.

    They stay in ``sys.modules``, where pickles and imports inside of a forward pass look for them, unless a file
    elsewhere has neighbours of that name: such an import would get either's, so it fails outside of this block.
    """
    folder = folder.resolve()
    own = _IMPORTED.setdefault(folder, {})
    others = [modules for place, modules in _IMPORTED.items() if place != folder]
    hidden = {name: found for modules in others for name, found in modules.items() if sys.modules.get(name) is found}
    _forget(hidden)
    sys.modules.update(own)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        known = before - own.keys()
        own.update({name: sys.modules[name] for name in sys.modules.keys() - before if _is_beside(name, folder, known)})
        sys.path.remove(str(folder))
        shared = _roots(own) & _roots(name for modules in others for name in modules)
        _forget(name for name in own if _root(name) in shared)
        for name, module in hidden.items():
            if _root(name) not in shared:
                sys.modules.setdefault(name, module)


def _is_beside(name: str, folder: Path, known: set[str]) -> bool:
    """Tell whether a module, or the package that it is in, stands in ``folder`` itself and was not known before.

    An installed package in an environment below the folder does not, and of a package that was known, the modules
    imported later belong to all.
    """
    root = _root(name)
    spec = getattr(sys.modules.get(root), "__spec__", None)
    if root in known or spec is None:
        return False
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    return any(Path(place).parent == folder for place in places if place is not None)


def _root(name: str) -> str:
    return name.partition(".")[0]


def _roots(names: Iterable[str]) -> set[str]:
    return {_root(name) for name in names}


def _forget(names: Iterable[str]) -> None:
    for name in names:
        sys.modules.pop(name, None)
