"""Names that other exporters have for our options, so that a user of theirs is told ours."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

OTHER_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "--batch-size": ("--batch",),
        "--ckpt": ("--checkpoint",),
        "--class-names": ("--labels",),
        "--classes": ("--labels", "--num-classes"),
        "--compute-precision": ("--precision",),
        "--data": ("--calibration", "--images"),
        "--dtype": ("--precision",),
        "--dynamic": ("--dynamic-batch",),
        "--fp16": ("--precision fp16",),
        "--force": ("--overwrite",),
        "--format": ("--target",),
        "--half": ("--precision fp16",),
        "--head": ("--option head=NAME",),
        "--image-size": ("--input-size",),
        "--img-size": ("--input-size",),
        "--imgsz": ("--input-size",),
        "--include": ("--target",),
        "--input-shape": ("--input-size",),
        "--int8": ("--precision int8",),
        "--minimum-deployment-target": ("--deployment-target",),
        "--opset-version": ("--opset",),
        "--out": ("--output",),
        "--out-dir": ("--output",),
        "--output-dir": ("--output",),
        "--output-file": ("--output",),
        "--quantize": ("--precision int8",),
        "--resume": ("--checkpoint",),
        "--save-dir": ("--output",),
        "--tolerance": ("--gate",),
        "--weights": ("--checkpoint",),
        "--yes": ("--overwrite",),
        "-o": ("--output",),
    }
)
"""What others call an option, to ours in order of likelihood, each with a value where that says more."""
ALIKE = 0.7
"""How alike two spellings are (difflib's ratio) before one is taken for the other."""


def meant_by(given: str, context: Any) -> str:
    """Return the options of a command that a name of others stands for, or else those that are spelt like it.

    Args:
        given: The option that the command does not have.
        context: The parser's context of the command; None outside of any.

    Returns:
        The options, joined by "or"; empty where there is none.
    """
    if context is None:
        return ""
    known = {spelt for each in context.command.params for spelt in (*each.opts, *each.secondary_opts)}
    meant = [each for each in OTHER_NAMES.get(given, ()) if each.partition(" ")[0] in known]
    return " or ".join(meant or get_close_matches(given, known, n=2, cutoff=ALIKE))
