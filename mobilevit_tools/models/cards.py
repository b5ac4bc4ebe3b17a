"""Model cards: what is known of each architecture and of each set of bundled weights, read from ``cards/*.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from mobilevit_tools.data.contract import TaskName
from mobilevit_tools.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

CARDS_FOLDER = Path(__file__).parent / "cards"
UNSTATED = "not stated"
"""The licence of weights that nobody states one of."""


@dataclass(frozen=True)
class Published:
    """Results that a paper or its authors state, never ours.

    Attributes:
        source: Where they are stated.
        params_m: Parameters in millions.
        gmacs: Multiply-accumulates in billions.
        top1: ImageNet-1K top-1 accuracy in percent.
        latency_ms: Latency in milliseconds by device.
    """

    source: str
    params_m: float | None = None
    gmacs: float | None = None
    top1: float | None = None
    latency_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """What was counted by hand, or is stated for exactly this architecture; the measured figures must agree with it.

    Attributes:
        params_m: Parameters in millions.
        gmacs: Multiply-accumulates in billions, attention's products included; None where nobody counted them.
    """

    params_m: float
    gmacs: float | None = None


@dataclass(frozen=True)
class WeightsCard:
    """One set of trained weights that comes with the package.

    Attributes:
        tag: The part of the model's name behind the dot.
        file: Name of the safetensors file in ``models/weights``.
        source: Who trained them, on what.
        license: The licence that they are under.
        training: How they were trained.
        params: Trainable parameters of the model with these weights.
        macs: Multiply-accumulates of one image at ``preprocessing.input_size``.
        preprocessing: The input that they were evaluated with.
        labels: Class names in index order.
        top1: Measured top-1 accuracy in percent.
        top1_images: On how many images.
        top1_data: On which images, prepared how.
    """

    tag: str
    file: str
    source: str
    license: str
    training: str
    params: int
    macs: int
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    top1: float
    top1_images: int
    top1_data: str


@dataclass(frozen=True)
class ModelCard:
    """One architecture.

    Attributes:
        name: The architecture's name.
        family: The family's name in the registry.
        title: The family's name for people.
        paper: The paper that describes it.
        license: Licence notes.
        reconstruction: Why and how far the architecture is this project's own reconstruction; None where it is not.
        classifier: The state-dict prefix of the last linear layer, from which a checkpoint's class count is read.
        size_multiple: Input height and width must be multiples of this.
        fixed_size: The weights are tied to the input size, so the builder takes ``img_size``.
        params: Trainable parameters with 1000 classes (or what ``num_classes`` says) at ``preprocessing.input_size``.
        macs: Multiply-accumulates of one image at ``preprocessing.input_size``; None for a model of people's own.
        num_classes: The class count without a checkpoint that says otherwise.
        preprocessing: The default input.
        published: What the paper reports.
        counted: What the parameters and MACs must agree with; None for a model of people's own.
        outside: Why a delegate cannot take over every operator; None where it can.
        weights: Bundled weights by tag.
        task: What the outputs mean; None leaves it to what they hold.
    """

    name: str
    family: str
    title: str
    paper: str
    license: str
    reconstruction: str | None
    classifier: str
    size_multiple: int
    fixed_size: bool
    params: int
    macs: int | None
    num_classes: int
    preprocessing: Preprocessing
    published: Published
    weights: Mapping[str, WeightsCard]
    counted: Counted | None = None
    outside: str | None = None
    task: TaskName | None = None


@cache
def family_cards(family: str) -> Mapping[str, ModelCard]:
    """Return the cards of a registered family's architectures by name.

    What a card file says at its top holds for all of the family's architectures, unless one says otherwise.
    """
    raw = tomllib.loads((CARDS_FOLDER / f"{family}.toml").read_text(encoding="utf-8"))
    cards = {}
    for name, own in raw.pop("models").items():
        entry = {**raw, **own}
        weights = {
            tag: WeightsCard(
                tag=tag,
                preprocessing=Preprocessing(input_size=_pair(body["input_size"]), crop_fraction=None),
                labels=tuple(body["labels"]),
                **{key: body[key] for key in body if key not in ("input_size", "labels")},
            )
            for tag, body in entry.get("weights", {}).items()
        }
        cards[name] = ModelCard(
            name=name,
            family=family,
            reconstruction=entry.get("reconstruction"),
            fixed_size=entry.get("fixed_size", False),
            num_classes=entry.get("num_classes", 1000),
            preprocessing=Preprocessing(
                input_size=_pair(entry["input_size"]),
                crop_fraction=entry.get("crop_fraction"),
                mean=tuple(entry.get("mean", IMAGENET_MEAN)),
                std=tuple(entry.get("std", IMAGENET_STD)),
            ),
            published=Published(source=entry["published_source"], **entry.get("published", {})),
            weights=MappingProxyType(weights),
            counted=Counted(**entry["counted"]),
            outside=entry.get("outside"),
            **{
                key: entry[key]
                for key in ("title", "paper", "license", "classifier", "size_multiple", "params", "macs")
            },
        )
    return MappingProxyType(cards)


def _pair(size: list[int]) -> tuple[int, int]:
    height, width = size
    return height, width
