"""The weights that an ncnn artifact stores: one file without names, shapes or an end of each."""

from __future__ import annotations

from pathlib import Path

from mobilevit_tools.comparison.stored import Stored, weight
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.ncnn_files import WEIGHTS_FILE


def read_weights(path: Path) -> Stored:
    """Read the file of weights as a whole.

    Raises:
        BadInputError: There is none.
    """
    try:
        content = (path / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise BadInputError(f"There is no {WEIGHTS_FILE} in {path}.", code="unloadable_artifact") from error
    return (weight(WEIGHTS_FILE, "bytes", (), content),), (
        "ncnn keeps all weights as one: they are compared as a whole.",
    )
