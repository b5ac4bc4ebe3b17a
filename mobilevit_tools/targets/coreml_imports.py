"""Import coremltools without the libraries that it looks for and that nothing here uses: four seconds become one."""

from __future__ import annotations

import sys
from importlib import import_module

_UNUSED = ("sklearn", "torchao", "executorch", "xgboost", "libsvm")
"""coremltools 9.0 imports these where they are installed: to convert their models, which are no vision models of
torch's, or only to see whether they are there."""


def prepare() -> None:
    """Import coremltools as if none of them was installed, those aside that are imported already."""
    if "coremltools" in sys.modules:
        return
    hidden = [name for name in _UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is none
    try:
        import_module("coremltools")
    finally:
        for name in hidden:
            del sys.modules[name]
