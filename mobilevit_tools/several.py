"""Arguments that take several values also take one alone, such as ``targets="onnx"``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload


@overload
def several(given: str | Sequence[str]) -> tuple[str, ...]: ...
@overload
def several(given: int | Sequence[int]) -> tuple[int, ...]: ...
@overload
def several(given: str | Path | Sequence[str | Path]) -> tuple[str | Path, ...]: ...
def several(given: Any) -> tuple[Any, ...]:
    """Return what was given as a tuple; a text is one value, not its letters."""
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
