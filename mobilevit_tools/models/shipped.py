"""Build the architectures that the project ships, and fit checkpoints to what was built."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING

from mobilevit_tools.errors import UsageError
from mobilevit_tools.models.cards import ModelCard
from mobilevit_tools.models.heads.registry import BACKBONE, HEAD_OPTION, head_in
from mobilevit_tools.models.options import OptionValue
from mobilevit_tools.models.registry import FAMILIES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobilevit_tools.models.loading import Adapt


def adapter(card: ModelCard, module: nn.Module) -> Adapt | None:
    """Return what fits a checkpoint's tables to the model's input size; None where the family has no such tables.

    Tables of an impossible shape stay as they are, for :func:`~mobilevit_tools.models.loading.load_strictly` to list.
    """
    family = FAMILIES[card.family]
    if family.adapter is None:
        return None
    adapter = getattr(import_module(family.module), family.adapter)
    inside = "" if card.task is None else BACKBONE
    own = module.get_submodule(inside.rstrip("."))

    def adapt(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        tables = {key.removeprefix(inside): each for key, each in tensors.items() if key.startswith(inside)}
        try:
            adapted: Mapping[str, Tensor] = adapter(own, tables)
        except (IndexError, RuntimeError, ValueError):
            return tensors
        others = {key: each for key, each in tensors.items() if not key.startswith(inside)}
        return others | {f"{inside}{key}": each for key, each in adapted.items()}

    return adapt


def head_keys(
    card: ModelCard, module: nn.Module, classes: int, size: tuple[int, int], options: Mapping[str, OptionValue]
) -> set[str]:
    """Return the keys that the classifier has and ``module``, built with ``features_only`` or with a head, lacks."""
    headed = head_in(options) is not None
    if not (headed or options.get("features_only")):
        return set()
    import torch

    with torch.device("meta"):
        classifier = _built(card, classes, size, {**_without_head(options), "features_only": False})
    prefix = BACKBONE if headed else ""
    return {f"{prefix}{key}" for key in classifier.state_dict()} - module.state_dict().keys()


def build(card: ModelCard, classes: int, size: tuple[int, int], options: Mapping[str, OptionValue]) -> nn.Module:
    """Build an architecture, with the head that its options ask for, with random weights.

    Raises:
        UsageError: It does not take one of the options, or cannot be built so.
    """
    head = head_in(options)
    if head is None:
        return _built(card, classes, size, _without_head(options))
    backbone = _built(card, classes, size, {**_without_head(options), "features_only": True})
    try:
        return head.build(backbone, classes, size)
    except ValueError as error:
        raise UsageError(f"{card.name} cannot be built with these options: {error}.", code="model_option") from error


def _without_head(options: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
    return {name: value for name, value in options.items() if name != HEAD_OPTION}


def _built(card: ModelCard, classes: int, size: tuple[int, int], options: Mapping[str, OptionValue]) -> nn.Module:
    builder = getattr(import_module(FAMILIES[card.family].module), card.name)
    sized = {"img_size": size} if card.fixed_size else {}
    try:
        module: nn.Module = builder(num_classes=classes, **sized, **options)
    except TypeError as error:
        taken = [option for option in signature(builder).parameters if option not in ("num_classes", "img_size")]
        raise UsageError(
            f"{card.name} does not take these options: {', '.join(sorted(options))} ({error}).",
            hint=f"It takes these options: {', '.join(taken)}.",
            code="model_option",
        ) from error
    except ValueError as error:
        raise UsageError(f"{card.name} cannot be built with these options: {error}.", code="model_option") from error
    return module
