"""What a model returns: logits, an embedding, or feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.models.options import OptionValue
    from mobilevit_tools.models.own_card import Card
    from mobilevit_tools.models.trial import Trial

Returned = Literal["logits", "embedding", "features", "score_map", "boxes"]


def returned_by(module: nn.Module, card: Card, tried: Trial, options: Mapping[str, OptionValue]) -> Returned:
    """Tell what a custom model returns.

    One tensor (batch, n) is logits unless the card, the options or the model itself says that there are no classes;
    timm's models, which return their pooled features then, have ``num_classes`` 0.

    Args:
        module: The model.
        card: What its function says of it.
        tried: What it returned.
        options: What its function was given.
    """
    if not tried.classes:
        return "features"
    if card.output is not None:
        return card.output
    # A bool is an int, and False == 0.
    counts = (options.get("num_classes"), getattr(_last(module), "num_classes", None))
    return "embedding" if any(type(count) is int and count == 0 for count in counts) else "logits"


def outputs_in_words(returns: Returned, outputs: int) -> str:
    """Say what a model returns in place of logits."""
    if returns == "embedding":
        return "an output that is an embedding"
    return f"{outputs} outputs" if outputs > 1 else "an output that is a list"


def _last(module: nn.Module) -> nn.Module:
    """Return what computes the answer, behind the normalisation that people put before their model."""
    from torch import nn

    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module
