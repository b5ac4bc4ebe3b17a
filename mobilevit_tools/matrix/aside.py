"""A result whose artifact is thrown away: its folder is named as the shown commands would make it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.matrix.run import TYPED_FOLDER


def without_artifact(result: CellResult, folder: Path) -> CellResult:
    """Return the result with :data:`TYPED_FOLDER` wherever it names ``folder``, which is gone in a moment."""

    def shown(text: str | None) -> str | None:
        return text and text.replace(str(folder), str(TYPED_FOLDER))

    def moved(path: Path) -> Path:
        return TYPED_FOLDER / path.relative_to(folder) if path.is_relative_to(folder) else path

    made, profile, evaluation = result.artifact, result.profile, result.evaluation
    return replace(
        result,
        message=shown(result.message),
        hint=shown(result.hint),
        artifact=made
        and replace(
            made,
            path=moved(made.path),
            manifest=moved(made.manifest),
            bundle=made.bundle and moved(made.bundle),
            kept=False,
        ),
        profile=profile and replace(profile, artifact=moved(profile.artifact)),
        evaluation=evaluation and replace(evaluation, artifact=moved(evaluation.artifact)),
    )
