"""A result whose artifact is thrown away: its folder is named as the shown commands would make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.matrix.run import TYPED_FOLDER


def without_artifact(result: CellResult, folder: Path) -> CellResult:
    """Return the result with :data:`TYPED_FOLDER` wherever it names ``folder``, which is gone in a moment."""

    def shown(text: str | None) -> str | None:
        return text and text.replace(str(folder), str(TYPED_FOLDER))

    def moved(mapping: Mapping[str, object] | None) -> Mapping[str, object] | None:
        return mapping and {key: shown(value) if isinstance(value, str) else value for key, value in mapping.items()}

    artifact = moved(result.artifact)
    return replace(
        result,
        message=shown(result.message),
        hint=shown(result.hint),
        artifact=artifact and {**artifact, "kept": False},
        profile=moved(result.profile),
        evaluation=moved(result.evaluation),
    )
