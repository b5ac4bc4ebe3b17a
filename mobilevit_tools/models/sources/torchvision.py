"""Let packages import torchvision beside a torch that its compiled operators were not built for.

The published torchvision is built for one torch with CUDA. Beside a torch for the CPU its library does not load, and
importing it then ends in ``operator torchvision::nms does not exist``, although nothing that builds a classifier calls
that operator: its declaration is all that the import asks for.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from mobilevit_tools.errors import MissingDependencyError, first_line

REMEDY = (
    "Install a matching pair: pip install --force-reinstall --no-deps 'torchvision==0.N', where torch 2.M goes with "
    "N = M + 15, from the index that torch came from."
)
_DECLARED = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def make_importable() -> None:
    """Import torchvision where it is installed; where its operators do not load, with declarations in their place.

    Raises:
        MissingDependencyError: It does not import even so.
    """
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except Exception as error:  # torch raises a RuntimeError for the operator, the loader an OSError for the library
        _forget()
        try:
            _declare()
            import_module("torchvision")
        except Exception:
            _forget()
            raise _broken(error) from error


@cache
def _declare() -> object:
    """Declare what torchvision's own library would define, for as long as the process runs."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in _DECLARED:
        library.define(f"{name}{_SCHEMA}")  # type: ignore[no-untyped-call]
    return library


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _broken(error: Exception) -> MissingDependencyError:
    return MissingDependencyError(
        f"torchvision {_version('torchvision')} does not import beside torch {_version('torch')}: {first_line(error)}.",
        hint=REMEDY,
        code="torchvision",
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of an unknown version"
