"""A mean or a standard deviation of the channels, as people write it on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import UsageError

CHANNELS = 3


def parse_channels(text: str | None, what: str) -> tuple[float, float, float] | None:
    """Read ``0.5,0.4,0.3``, or ``0.5`` for all channels, as red, green and blue.

    Args:
        text: What people wrote.
        what: What they call it.

    Raises:
        UsageError: It is not one number or three, each from 0 to 1.
    """
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= CHANNELS
    if len(numbers) != CHANNELS or not all(isfinite(each) and 0 <= each <= 1 for each in numbers):
        raise UsageError(
            f"{text!r} is not a {what} of pixels from 0 to 1.",
            hint="For example 0.5, or 0.485,0.456,0.406 for red, green and blue. Divide values for pixels from 0 to "
            "255 by 255.",
        )
    red, green, blue = numbers
    return red, green, blue


def channels_text(values: Sequence[float] | None) -> str | None:
    """Write numbers such that :func:`parse_channels` reads the same.

    Raises:
        UsageError: They are no numbers.
    """
    if values is None:
        return None
    try:
        return ",".join(repr(float(each)) for each in values)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"A mean or std is three numbers, not {values!r}.", hint="For example (0.5, 0.5, 0.5)."
        ) from error


def normalized_by(recipe: Preprocessing, mean: str | None, std: str | None) -> Preprocessing:
    """Return a recipe with the mean and the deviation that were asked for; None leaves the model's own.

    Raises:
        UsageError: One of them cannot be read.
        BadInputError: No image can be prepared with them.
    """
    own_mean, own_std = parse_channels(mean, "mean"), parse_channels(std, "standard deviation")
    return replace(recipe, mean=own_mean or recipe.mean, std=own_std or recipe.std)
