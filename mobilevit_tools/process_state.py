"""What belongs to the whole process is after a call of the library as it was before it, whatever libraries did to it.

On being imported, coremltools, ExecuTorch and torch's exporter set environment variables, filter warnings and add a
handler to the root logger; coremltools draws from NumPy's global generator.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")
_OF_LIBRARIES = r"(copyreg|torch)(\.|$)"
"""Where torch warns of its own use of itself, about which nobody else can do anything."""


def restoring(call: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Let a function leave the process as it was; see :func:`restored`."""

    @wraps(call)
    def around(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        with restored():
            return call(*args, **kwargs)

    return around


@contextmanager
def restored() -> Iterator[None]:
    """Put back, at the end: environment, filters of warnings, root logger, random generators, torch's threads."""
    environment = dict(os.environ)
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    undo = [*_generators(), *_threads()]
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=kind, module=_OF_LIBRARIES)
            yield
    finally:
        for each in undo:
            each()
        root.setLevel(level)
        root.handlers[:] = handlers
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})


def _generators() -> Iterator[Callable[[], object]]:
    """Yield what restores each generator; one that is not imported yet is in nobody's use."""
    python = random.getstate()
    yield lambda: random.setstate(python)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        drawn = numpy.random.get_state()
        yield lambda: numpy.random.set_state(drawn)
    if torch is not None:
        state = torch.random.get_rng_state()
        yield lambda: torch.random.set_rng_state(state)


def _threads() -> Iterator[Callable[[], object]]:
    torch = sys.modules.get("torch")
    if torch is None:
        return
    threads = torch.get_num_threads()

    def restore() -> None:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    yield restore
