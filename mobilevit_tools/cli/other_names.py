"""Names that other exporters have for our options, so that a user of theirs is told ours."""

from __future__ import annotations

from collections.abc import Mapping
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


def meant_by(given: str, context: Any) -> str:
    """Return the options of a command that a name of others stands for; empty where it stands for none.

    Args:
        given: The option that the command does not have.
        context: The parser's context of the command; None outside of any.
    """
    if context is None:
        return ""
    known = {spelt for parameter in context.command.params for spelt in parameter.opts}
    return " or ".join(each for each in OTHER_NAMES.get(given, ()) if each.partition(" ")[0] in known)
