"""What is known of one model: measured stage by stage, beside what was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilevit_tools.analysis.macs import count_macs
from mobilevit_tools.analysis.stages import Stage, stage_table
from mobilevit_tools.api.given import given_module
from mobilevit_tools.input_size import Size, as_size
from mobilevit_tools.models.cards import Published, WeightsCard
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.names import is_registered, resolve
from mobilevit_tools.models.options import OptionValue
from mobilevit_tools.process_state import restoring
from mobilevit_tools.result import Result

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.models.own_card import Card


@dataclass(frozen=True, repr=False)
class InfoResult(Result, command="info"):
    """One model, measured.

    Attributes:
        name: Its name.
        title: Its family's name.
        paper: The paper that describes it.
        license: Licence notes.
        reconstruction: Why and how far it is this project's own reconstruction; None where it is not.
        input_size: Height and width in pixels at which it was measured.
        num_classes: The class count with which it was measured.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image.
        stages: Both by stage; they add up to the whole.
        uncounted: Operators that were neither counted nor known to be free, and how often.
        published: What the paper reports.
        weights: The bundled weights' card, where the name has a tag.
    """

    name: str
    title: str
    paper: str
    license: str
    reconstruction: str | None
    input_size: tuple[int, int]
    num_classes: int
    params: int
    macs: int
    stages: tuple[Stage, ...]
    uncounted: Mapping[str, int]
    published: Published
    weights: WeightsCard | None


@restoring
def info(
    model: str | nn.Module,
    *,
    name: str | None = None,
    card: Card | Mapping[str, object] | None = None,
    num_classes: int | None = None,
    input_size: Size | None = None,
    options: Mapping[str, OptionValue] | None = None,
) -> InfoResult:
    """Count a model's parameters and MACs by stage, at its default input size or another.

    Args:
        model: A name, or a :class:`torch.nn.Module`, which stays as it is.
        name: A module: what to call it; by default the name of its class.
        card: A module: what is known of it, a :class:`~mobilevit_tools.Card` or a dict with some of its fields.
        num_classes: The class count of a named model; by default the model's own.
        input_size: ``224``, or height and width in pixels; by default the model's own.
        options: Options of a named model's builder.

    Raises:
        BadInputError: No such model, or it cannot take that input size.
        UsageError: The model does not take an option, or nobody says its input size.

    Example:
        >>> mvt.info(net, name="tiny", input_size=(32, 32))
        InfoResult
          name         tiny
          title        tiny
          license      not stated
          input_size   32, 32
          num_classes  3
          params       787
          macs         12,300
          stages
            name  params  macs    output_shape
            0     772     12,288  1, 4, 4, 4
            1     0       0       1, 4, 4, 4
            2     0       0       1, 4, 1, 1
            3     0       0       1, 4
            4     15      12      1, 3
    """
    size = as_size(input_size)
    given = given_module(model, name=name, card=card, of_names={"num_classes": num_classes, "options": options or None})
    if given is None:
        called = str(model)
        bundled = resolve(called)[1] if is_registered(called) else None
        loaded = load_model(
            called, num_classes=num_classes, random_weights=bundled is None, input_size=size, options=options
        )
    else:
        called, bundled, loaded = given.name, None, given.load(size)
    known = loaded.card
    shape = (1, 3, *loaded.preprocessing.input_size)
    count = count_macs(loaded.module, shape)
    return InfoResult(
        name=called,
        title=known.title,
        paper=known.paper,
        license=known.license,
        reconstruction=known.reconstruction,
        input_size=loaded.preprocessing.input_size,
        num_classes=loaded.num_classes,
        params=sum(parameter.numel() for parameter in loaded.module.parameters()),
        macs=count.total,
        stages=stage_table(loaded.module, shape, count),
        uncounted=count.uncounted,
        published=known.published,
        weights=bundled,
    )
