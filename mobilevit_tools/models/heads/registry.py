"""The heads, as data: importing this module imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from mobilevit_tools.data.contract import TaskName
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.cards import ModelCard, Published
from mobilevit_tools.models.options import OptionValue

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.models.checkpoint import Checkpoint

HEAD_OPTION = "head"
STRIDES = (4, 8, 16, 32)
"""Of the maps that heads are put on."""
BACKBONE = "backbone."
"""What the keys of a headed model's backbone begin with."""


@dataclass(frozen=True)
class HeadCard:
    """A head as data.

    Attributes:
        name: Its name.
        builder: The dotted path of what makes a model of a backbone: ``(backbone, *, num_classes, ...) -> nn.Module``.
        paper: What describes it.
        task: What the outputs of models with it mean.
        classifier: The state-dict prefix of the last layer, from which a checkpoint's class count is read.
        rows: How many rows that layer has for each class.
        num_classes: The class count without a checkpoint that says otherwise.
        input_size: Height and width by default; the photo is resized whole, because its edges count, too.
        fixed_size: Whether the builder takes the input's size as ``img_size``.
    """

    name: str
    builder: str
    paper: str
    task: TaskName
    classifier: str
    rows: int
    num_classes: int
    input_size: tuple[int, int]
    fixed_size: bool = False

    def build(self, backbone: nn.Module, num_classes: int, size: tuple[int, int]) -> nn.Module:
        """Put the head on a backbone that returns its maps.

        Raises:
            ValueError: They are no pyramid of strides 4 to 32.
        """
        if tuple(getattr(backbone, "feature_strides", ())) != STRIDES:
            raise ValueError(f"the head {self.name} requires maps of strides 4, 8, 16 and 32")
        module, _, name = self.builder.rpartition(".")
        builder = cast("Callable[..., nn.Module]", getattr(import_module(module), name))
        sized = {"img_size": size} if self.fixed_size else {}
        return builder(backbone, num_classes=num_classes, **sized)

    def describe(self, card: ModelCard) -> ModelCard:
        """Return the card of an architecture with this head; what is published of it as a classifier is left out."""
        return replace(
            card,
            paper=f"{card.paper}; {self.paper}",
            classifier=self.classifier,
            num_classes=self.num_classes,
            preprocessing=replace(
                card.preprocessing, input_size=self.input_size, crop_fraction=None, interpolation="bilinear"
            ),
            published=Published(source=""),
            counted=None,
            macs=None,
            weights=MappingProxyType({}),
            task=self.task,
        )

    def class_count(self, checkpoint: Checkpoint) -> int | None:
        """Return how many classes a checkpoint's head has; None where there is no such head.

        Raises:
            BadInputError: Its rows are those of another head, or claim too many classes to build a model of.
        """
        rows = checkpoint.class_count(self.classifier)
        if rows is not None and rows % self.rows:
            raise BadInputError(
                f"{checkpoint.source} has {rows} rows in {self.classifier}, which has {self.rows} for each class.",
                hint="Heads with other anchors than three scales and three shapes are not supported.",
                code="checkpoint_mismatch",
            )
        return None if rows is None else rows // self.rows


_CARDS = (
    HeadCard(
        name="semantic_fpn",
        builder="mobilevit_tools.models.heads.semantic_fpn.SemanticFPN",
        paper="Panoptic Feature Pyramid Networks, CVPR 2019 (arXiv 1901.02446)",
        task="segment",
        classifier="decode_head.conv_seg",
        rows=1,
        num_classes=150,
        input_size=(512, 512),
    ),
    HeadCard(
        name="retinanet",
        builder="mobilevit_tools.models.heads.retinanet.RetinaNet",
        paper="Focal Loss for Dense Object Detection, ICCV 2017 (arXiv 1708.02002)",
        task="detect",
        classifier="bbox_head.retina_cls",
        rows=9,
        num_classes=80,
        input_size=(512, 512),
        fixed_size=True,
    ),
)
HEADS: Mapping[str, HeadCard] = MappingProxyType({card.name: card for card in _CARDS})


def head_in(options: Mapping[str, OptionValue]) -> HeadCard | None:
    """Return the head that a builder's options ask for; None where they ask for none.

    Raises:
        UsageError: There is no such head, or they ask for the maps as well.
    """
    name = options.get(HEAD_OPTION)
    if name is None:
        return None
    if name not in HEADS:
        near = get_close_matches(str(name), HEADS, n=1)
        raise UsageError(
            f"There is no head named {name!r}.",
            hint=(f"Did you mean {near[0]}? " if near else "") + f"Heads: {', '.join(HEADS)}.",
            code="model_option",
        )
    if options.get("features_only"):
        raise UsageError(
            f"features_only and head={name} exclude each other.",
            hint="Omit one of them.",
            code="model_option",
        )
    return HEADS[str(name)]
