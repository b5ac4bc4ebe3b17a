"""Which line of people's own source an error of a library, or an operator of a graph, comes from."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from mobilevit_tools.errors import first_line
from mobilevit_tools.targets.registry import TARGETS

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_LIBRARIES = frozenset(
    {
        "torch",
        "functorch",
        "torchao",
        "torchgen",
        "sympy",
        "mpmath",
        "numpy",
        "mobilevit_tools",
        *(package for target in TARGETS.values() for package in (*target.exporting, target.running)),
    }
)
"""Packages between people's source and an error; a line of theirs tells nobody what to change."""

_REMEDIES = (
    (
        ("data-dependent", "DataDependent"),
        "The control flow depends on tensor values. Use torch.where instead of an if, "
        "a fixed number of steps instead of a loop, a mask instead of selected elements.",
    ),
    (
        (".numpy()", "__array__", "numpy()"),
        "Use torch functions: NumPy operations are not traced.",
    ),
)
"""What helps against errors of torch.export and of converters, by what they say."""

_PACKAGES = Path(__file__).resolve().parent
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
_MAX_LINE = 80


class OperatorError(NotImplementedError):
    """A converter does not take an operator of a traced program.

    Args:
        message: What it says of the operator, by its name.
        line: The line of people's source that the operator comes from, as :func:`line_in` returns it.
    """

    def __init__(self, message: str, line: str | None) -> None:
        super().__init__(message)
        self.line = line


def reason_and_remedy(error: BaseException) -> tuple[str, str | None]:
    """Return what went wrong in one line, from an error and what it was raised from, and what helps against its kind.

    Of an error that wraps another, the first sentence is kept.
    """
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    said = first_line(error) if isinstance(error, OperatorError) else f"{type(error).__name__}: {first_line(error)}"
    if root is not error:
        said = f"{said.partition('. ')[0].rstrip('.')} ({type(root).__name__}: {first_line(root)})"
    remedy = next((what for signs, what in _REMEDIES if any(sign in said for sign in signs)), None)
    return said, remedy


def line_of(error: BaseException) -> str | None:
    """Return the innermost line of people's source that led to an error, as in ``net.py, line 12: x = x[y > 0]``.

    The errors that it was raised from are looked at first, for libraries wrap what they catch.
    """
    chain = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None and deeper not in chain:
        chain.append(deeper)
    for each in reversed(chain):
        frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(each.__traceback__)]
        if (found := _innermost(frames)) is not None:
            return found
    return None


def line_in(stack_trace: str) -> str | None:
    """Return the innermost line of people's source in a stack trace as text, as nodes of traced graphs have it."""
    return _innermost([(match["file"], int(match["line"])) for match in _FRAME.finditer(stack_trace)])


def line_now() -> str | None:
    """Return the innermost line of people's source that is running."""
    return _innermost([(frame.filename, frame.lineno or 0) for frame in traceback.extract_stack()])


def _innermost(frames: Iterable[tuple[str, int]]) -> str | None:
    theirs = [frame for frame in frames if _is_theirs(frame[0])]
    own = [frame for frame in theirs if _package(frame[0]) is None]
    for file, line in reversed(own or theirs):  # a model's library, such as timm, where no file of people's own is
        source = linecache.getline(file, line).strip()
        return f"{Path(file).name}, line {line}" + (f": {source[:_MAX_LINE]}" if source else "")
    return None


def _is_theirs(file: str) -> bool:
    path = Path(file)
    package = _package(file)
    if package is not None:
        return package not in _LIBRARIES
    inside = list(_parents(path))
    return path.is_absolute() and not file.startswith("<") and _PACKAGES not in inside and _STANDARD not in inside


def _package(file: str) -> str | None:
    """Return the installed package that a file is of; None for a file that is of none."""
    parts = Path(file).parts
    if "site-packages" not in parts:
        return None
    return parts[parts.index("site-packages") + 1].removesuffix(".py")


def _parents(path: Path) -> Iterator[Path]:
    yield from path.parents
