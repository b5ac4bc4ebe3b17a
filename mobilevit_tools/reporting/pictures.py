"""Pictures of what artifacts answer: those that bundles of segmenters and detectors have."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 4_000_000
"""Larger ones would make the page slow; a bundle's is the size of the model's input."""


def expected_picture(artifact: Path) -> str | None:
    """Return the picture in an artifact's bundle as a ``data:`` address; None where there is none."""
    from mobilevit_tools.bundle.golden import BUNDLE_FOLDER, PICTURE_NAME

    path = artifact.parent / BUNDLE_FOLDER / PICTURE_NAME
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return f"data:image/png;base64,{b64encode(content).decode()}" if content.startswith(_PNG) else None
