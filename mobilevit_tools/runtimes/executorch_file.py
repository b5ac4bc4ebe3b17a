"""Decode the file of an ExecuTorch program, without the exporter that its decoder belongs to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_EXPORTER = "executorch.exir"
_DECODER = "executorch.exir._serialize._program"

_kept: dict[str, ModuleType] = {}
"""What the decoder consists of, between its uses."""


def decode(path: Path) -> Any:
    """Decode a program.

    Returns:
        executorch's ``PTEFile``; of which class a part is, its name tells.

    Raises:
        Exception: Whatever the decoder, which is written for valid files, trips over.
    """
    with _decoder() as decoder:
        return decoder.deserialize_pte_binary(path.read_bytes())


@contextmanager
def _decoder() -> Iterator[ModuleType]:
    """Import the decoder alone: the package that it is in would import the whole exporter, in three seconds.

    The decoder also imports while it works. Afterwards all of it leaves ``sys.modules``, so that who exports later
    gets the real package.
    """
    if _EXPORTER in sys.modules:
        yield import_module(_DECODER)
        return
    sys.modules.update(_kept or {_EXPORTER: _package()})
    try:
        yield import_module(_DECODER)
    finally:
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{_EXPORTER}.")]:
            _kept[name] = sys.modules.pop(name)


def _package() -> ModuleType:
    """Return a package with the files of the exporter, and with nothing that it does when it is imported."""
    spec = find_spec(_EXPORTER)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {_EXPORTER!r}", name=_EXPORTER)
    package = ModuleType(_EXPORTER)
    package.__path__ = list(spec.submodule_search_locations or ())
    package.__spec__ = spec
    return package
