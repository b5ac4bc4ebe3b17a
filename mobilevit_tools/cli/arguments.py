"""Arguments and options that several verbs take, and how their values are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mobilevit_tools.cli.completion import complete_model, complete_target
from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets.registry import SUFFIXES, TARGETS

KNOWN_PROBLEMS = "docs/reference/known-problems.md"
"""The page of library bugs, which doctor and the lints point to."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON envelope on stdout.")]
Verbosity = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Show details; -vv also shows library output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only names or paths, one per line.")]
Artifact = Annotated[Path, typer.Argument(help=f"An artifact: {', '.join(SUFFIXES)}.", show_default=False)]
Model = Annotated[
    str,
    typer.Argument(
        help="A model name from `mvt models`, timm:NAME, hf:OWNER/NAME or path/to/net.py:function.",
        show_default=False,
        autocompletion=complete_model,
    ),
]
Models = Annotated[
    list[str],
    typer.Argument(help="Models, as `mvt export` takes them.", show_default=False, autocompletion=complete_model),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", "-t", autocompletion=complete_target, help=f"{', '.join(TARGETS)}. Repeatable. Default: all."
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option("--checkpoint", help="Weights: a .pth, .pt, .pth.tar or .safetensors file, or hf://owner/repo/file."),
]
Ema = Annotated[
    bool | None,
    typer.Option(
        "--ema/--no-ema",
        help="Load the checkpoint's moving average (EMA) or its raw weights. Default: the EMA if present.",
    ),
]
RandomWeights = Annotated[bool, typer.Option("--random-weights", help="Allow random weights.")]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="Mean of the pixels from 0 to 1, such as 0.485,0.456,0.406. Default: the model's."),
]
Std = Annotated[str | None, typer.Option("--std", help="Standard deviation of the pixels, likewise.")]
InputSize = Annotated[str | None, typer.Option("--input-size", help="Height x width, such as 224 or 192x256.")]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="A model option, name=value. Repeatable.")]
Gates = Annotated[
    list[str] | None,
    typer.Option(
        "--gate", help="A stricter gate, such as fp16:snr=50. Figures: max-abs, snr, cosine, top1. Repeatable."
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Folder of photos to verify with; at most 256 are used, evenly spaced. Default: the bundled photos.",
    ),
]
ClassOrderOption = Annotated[
    str | None,
    typer.Option(
        "--class-order",
        help="How numbered folders map to classes: index (0 is class 0), text "
        "(torchvision: 0, 1, 10, 2) or natural (timm: 0, 1, 2, 10). Default: detected from the predictions.",
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of one inference.")]
Rigor = Annotated[str, typer.Option("--rigor", help="quick, default or mlperf: how many runs.")]


def parse_share(text: str) -> float:
    """Read ``2%`` or ``0.02`` as a share.

    Raises:
        UsageError: It is neither, or negative; or 1 or more without the sign: ``2`` is rarely meant to be 200 %.
    """
    number, percent = (text[:-1], 100) if text.endswith("%") else (text, 1)
    try:
        share = float(number) / percent
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf"):
        raise UsageError(f"{text!r} is not a fraction or percentage.", hint="For example 2% or 0.02.")
    if share >= 1 and not text.endswith("%"):
        raise UsageError(f"{text!r} without % would be {share:.0%}.", hint="For example 2% or 0.02.")
    return share


def check_bounds(bounded: str, given: object, bounds: Mapping[str, object]) -> None:
    """Refuse bounds on what is not asked for: a check that never runs would look like one that passed.

    Args:
        bounded: The option without which the bounds mean nothing.
        given: Its value; None where it is not given.
        bounds: The values of the options that bound it, by name; None where one is not given.

    Raises:
        UsageError: A bound is given, and what it bounds is not.
    """
    for option, value in bounds.items():
        if given is None and value is not None:
            raise UsageError(f"{option} requires {bounded}.", hint=f"Add {bounded}, or leave it out.")


def finite(value: float | None) -> float | None:
    """Refuse NaN and infinity: a bound may let them pass, and what is compared with them is switched off.

    Raises:
        BadParameter: It is one of them.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def photos_in(folder: Path | None) -> list[Path] | None:
    """Return the images of a folder, or None where no folder was given.

    Raises:
        BadInputError: There is no such folder, or it has no images.
    """
    if folder is None:
        return None
    from mobilevit_tools.data.folders import list_images

    return list(list_images(folder).images)
