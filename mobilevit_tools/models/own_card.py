"""What people may say of a model of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from mobilevit_tools.data.contract import TaskName
from mobilevit_tools.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocessing
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.cards import UNSTATED, ModelCard, Published

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Card:
    """What people say of a model of theirs, from Python or beside what their function builds; all may be left out.

    Where a module says something itself, as timm's do in ``pretrained_cfg``, that holds for what is left out.

    Attributes:
        title: The model's name for people.
        paper: What describes it.
        license: Licence notes; they go into every artifact.
        input_size: Height and width of the default input.
        crop_fraction: See :class:`~mobilevit_tools.data.preprocessing.Preprocessing`, as for the next three.
        interpolation: The resampling filter.
        mean: Per-channel mean, on the 0-1 scale.
        std: Per-channel standard deviation, on the 0-1 scale.
        labels: Class names in index order.
        output: What a single output (batch, n) holds: ``logits`` of n classes, or an ``embedding``. By default it is
            an embedding where the model's own ``num_classes`` is 0.
        task: What the outputs mean: ``classify``, ``segment``, ``detect``, ``embed`` or ``raw``. By default what
            they hold says it.

    Example:
        >>> card = mvt.Card(input_size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1), labels=("cat", "dog", "horse"))
        >>> mvt.info(net, card=card).num_classes
        3
    """

    title: str = ""
    paper: str = ""
    license: str = ""
    input_size: tuple[int, int] | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    labels: tuple[str, ...] | None = None
    output: Literal["logits", "embedding"] | None = None
    task: TaskName | None = None

    def preprocessing(self, name: str, input_size: tuple[int, int] | None) -> Preprocessing:
        """Return the model's input.

        Args:
            name: The model's name, for errors.
            input_size: Height and width that were asked for; None takes the card's.

        Raises:
            UsageError: Nobody says the size.
            BadInputError: It is impossible, or another field is.
        """
        size = input_size or self.input_size
        if size is None:
            raise UsageError(
                f"{name} does not say its input size.",
                hint="Give --input-size HEIGHTxWIDTH (from Python input_size, or img_size of create_model), "
                "or a card with input_size.",
                code="input_size",
            )
        if min(size) < 1:
            raise BadInputError(f"An input of {size[0]}x{size[1]} pixels is not possible.", code="input_size")
        return Preprocessing(size, self.crop_fraction, self.interpolation, self.mean, self.std)

    def describe(self, name: str, module: nn.Module, preprocessing: Preprocessing, classes: int) -> ModelCard:
        """Return the card of the model as shipped ones have it.

        Args:
            name: The model's name.
            module: What was built.
            preprocessing: Its input.
            classes: Its class count; 0 where it has none.
        """
        return ModelCard(
            name=name,
            family="own",
            title=self.title or name,
            paper=self.paper,
            license=self.license or UNSTATED,
            reconstruction=None,
            classifier="",
            size_multiple=1,
            fixed_size=False,
            params=sum(parameter.numel() for parameter in module.parameters()),
            macs=None,
            num_classes=classes,
            preprocessing=replace(preprocessing, input_size=self.input_size or preprocessing.input_size),
            published=Published(source=""),
            weights=MappingProxyType({}),
            task=self.task,
        )


def read_card(name: str, stated: object) -> Card:
    """Check what is said of a model, some of the fields of a card by name.

    Raises:
        BadInputError: It is no card.
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(stated, Mapping):
        raise BadInputError(f"The card of {name} is a {type(stated).__name__}, not a dict.", code="own_card")
    known = [field.name for field in fields(Card)]
    unknown = [str(key) for key in stated if key not in known]
    if unknown:
        raise BadInputError(
            f"The card of {name} has unknown fields: {', '.join(unknown)}.",
            hint=f"It may have {', '.join(known)}.",
            code="own_card",
        )
    for field, length, what in (("mean", 3, "numbers"), ("std", 3, "numbers"), ("input_size", 2, "sides")):
        value = stated.get(field)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) != length:
            raise BadInputError(
                f"The card of {name} has {len(value)} {what} in {field}, not {length}.", code="own_card"
            )
    try:
        return TypeAdapter(Card).validate_python(dict(stated))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise BadInputError(f"The card of {name} has a bad {field}: {first['msg']}.", code="own_card") from error
