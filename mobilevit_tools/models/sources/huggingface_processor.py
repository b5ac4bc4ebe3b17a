"""What a processor's configuration says of the input, as the preprocessing of :mod:`mobilevit_tools.data`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.models.sources.repository import Repository

FILES = ("preprocessor_config.json", "processor_config.json")
_FILTERS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
_LEVIT_SCALE = 256 / 224
"""LeViT's processor resizes to this times the size that it names."""
_Pair = tuple[int, int]


@dataclass(frozen=True)
class Processor:
    """The input of one model.

    Attributes:
        size: Height and width; None where nothing says it.
        crop_fraction: See :class:`~mobilevit_tools.data.preprocessing.Preprocessing`, as for the next three.
        interpolation: The resampling filter.
        mean: Per-channel mean on the 0-1 scale.
        std: Per-channel standard deviation on the 0-1 scale.
        reversed_channels: Whether the model takes BGR.
    """

    size: _Pair | None
    crop_fraction: float | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reversed_channels: bool

    def card(self) -> Mapping[str, object]:
        """Return the fields of a card."""
        card = {
            "input_size": self.size,
            "crop_fraction": self.crop_fraction,
            "interpolation": self.interpolation,
            "mean": self.mean,
            "std": self.std,
        }
        return {key: value for key, value in card.items() if key != "input_size" or value is not None}

    def around(self, module: nn.Module) -> nn.Module:
        """Return the model as one that takes RGB."""
        return _reversing()(module) if self.reversed_channels else module

    @staticmethod
    def inside(module: nn.Module) -> nn.Module:
        """Return the model that :meth:`around` was given."""
        return cast("nn.Module", module.model) if isinstance(module, _reversing()) else module


def read_processor(name: str, repository: Repository, config: Any) -> Processor:
    """Return the input of a model; its configuration says the size where no processor does.

    Raises:
        BadInputError: The processor's configuration cannot be read.
    """
    raw: Mapping[str, Any] = {}
    for file in FILES:
        found = repository.json(file)
        if found is not None:
            raw = found.get("image_processor", found)
            break
    try:
        return _read(raw, config)
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise BadInputError(
            f"The processor's configuration of {name} cannot be read: {error}.", code="own_card"
        ) from error


def _read(raw: Mapping[str, Any], config: Any) -> Processor:
    kind = str(raw.get("image_processor_type") or raw.get("feature_extractor_type") or "")
    size, crop = _sides(raw.get("size")), _sides(raw.get("crop_size"))
    shortest = _shortest(raw.get("size"))
    cropped = bool(raw.get("do_center_crop")) and crop is not None
    fraction: float | None = None
    if cropped and crop is not None:
        resized = shortest or (min(size) if size else min(crop))
        fraction = min(crop) / (resized * (_LEVIT_SCALE if kind.startswith("Levit") else 1))
    elif raw.get("crop_pct") is not None and shortest is not None and shortest < _WARPED_FROM:
        fraction = float(raw["crop_pct"])  # ConvNeXt's
    taken = (crop if cropped else size or (shortest and (shortest, shortest))) if raw else None
    own = _sides(getattr(config, "image_size", None))
    if "longest_edge" in (raw.get("size") or {}) if isinstance(raw.get("size"), Mapping) else False:
        taken = own or taken  # a detector's, which keeps the aspect ratio and has no size of its own
    return Processor(
        size=taken or own,
        crop_fraction=None if fraction is None else min(fraction, 1.0),
        interpolation=_FILTERS.get(int(raw.get("resample", 2)), "bicubic"),
        **_scale(raw),
        reversed_channels=bool(raw.get("do_flip_channel_order")),
    )


_WARPED_FROM = 384
"""From this size on, ConvNeXt's processor resizes the whole image and crops nothing."""


def _scale(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and deviation on the 0-1 scale of ``(pixels * factor - offset - mean) / std``."""
    normalizes = raw.get("do_normalize", "image_mean" in raw)
    mean = _three(raw.get("image_mean", 0.5)) if normalizes else (0.0, 0.0, 0.0)
    std = _three(raw.get("image_std", 0.5)) if normalizes else (1.0, 1.0, 1.0)
    factor = float(raw.get("rescale_factor", 1 / 255)) if raw.get("do_rescale", True) else 1.0
    offset = 1.0 if raw.get("rescale_offset") else 0.0
    unit = 255 * factor
    if math.isclose(unit, 1.0, rel_tol=1e-6) and not offset:  # 1/255 is written with few digits
        return {"mean": mean, "std": std}
    return {"mean": tuple((value + offset) / unit for value in mean), "std": tuple(value / unit for value in std)}


def _three(value: Any) -> tuple[float, ...]:
    values = tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),) * 3
    if len(values) != 3:
        raise ValueError(f"{len(values)} channels, not 3")
    return values


def _sides(size: Any) -> _Pair | None:
    if isinstance(size, Mapping):
        return (int(size["height"]), int(size["width"])) if {"height", "width"} <= size.keys() else None
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (int(size), int(size)) if isinstance(size, int) else None


def _shortest(size: Any) -> int | None:
    found = size.get("shortest_edge") if isinstance(size, Mapping) else None
    return None if found is None else int(found)


def _reversing() -> type[nn.Module]:
    from mobilevit_tools.models.sources.reversing import ReversedChannels

    return ReversedChannels
