"""A weight that an artifact stores: its name where the format keeps one, and a digest of its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

NOT_WEIGHTS = ("int32", "int64", "bool", "string")
"""Element types of shapes, axes and switches."""


@dataclass(frozen=True)
class Weight:
    """One stored array.

    Attributes:
        name: Its name in the artifact; empty where the format keeps none.
        dtype: Its element type, in the format's words; ``bytes`` where the format keeps none.
        shape: Its shape; empty where the format keeps none.
        size_bytes: Its size.
        sha256: Digest of its content.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    sha256: str


Stored = tuple[tuple[Weight, ...], tuple[str, ...]]
"""Weights, and sentences on what the format does not let one tell."""


def weight(name: str, dtype: str, shape: tuple[int, ...], content: bytes) -> Weight:
    """Return what is kept of a stored array."""
    return Weight(name, dtype, tuple(shape), len(content), hashlib.sha256(content).hexdigest())
