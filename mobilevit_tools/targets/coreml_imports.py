"""Import coremltools without the libraries that it looks for and that nothing here uses: four seconds become one."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

_UNUSED = ("sklearn", "torchao", "executorch", "xgboost", "libsvm", "transformers")
"""coremltools 9.0 imports these where they are installed: to convert their models, which are no vision models of
torch's, or only to see whether they are there."""
_TRAINING = "coremltools.optimize.torch"
"""Compression while a model is trained: coremltools imports it with the rest, and it imports torch.distributed."""


def prepare() -> None:
    """Import coremltools as if none of them was installed, those aside that are imported already."""
    if "coremltools" in sys.modules:
        return
    hidden = [name for name in _UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is none
    sys.modules[_TRAINING] = ModuleType(_TRAINING)
    try:
        import_module("coremltools")
    finally:
        for name in (*hidden, _TRAINING):
            del sys.modules[name]
