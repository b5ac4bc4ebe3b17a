"""Build a model of people's own with its weights, and try it out as it will be exported."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from mobilevit_tools.errors import BadInputError, MvtError
from mobilevit_tools.models import trial
from mobilevit_tools.models.branches import Fused
from mobilevit_tools.models.builder import OwnModel
from mobilevit_tools.models.fusing import fuse_branches
from mobilevit_tools.models.loading import Fit
from mobilevit_tools.models.outputs import described
from mobilevit_tools.models.own import beside, call_builder
from mobilevit_tools.models.own_card import Card, read_card
from mobilevit_tools.models.own_ranges import module_of
from mobilevit_tools.models.returned import Returned, outputs_in_words, returned_by
from mobilevit_tools.models.unwrapping import is_lazy, plain_module

if TYPE_CHECKING:
    from mobilevit_tools.data.preprocessing import Preprocessing
    from mobilevit_tools.models.cards import ModelCard
    from mobilevit_tools.models.options import OptionValue

Load = Callable[[nn.Module], Fit]
"""Fills a module with a checkpoint's weights, or raises what is wrong with them."""


@dataclass(frozen=True)
class BuiltModel:
    """What a function built, filled and tried out.

    Attributes:
        module: The model, in evaluation mode, with its weights.
        card: Its card.
        preprocessing: Its input.
        labels: Its class names, where it says them.
        num_classes: Its class count; 0 where it returns no logits.
        returns: What it returns.
        outputs: How many tensors it returns.
        output_names: Their names, where they are the model's own.
        fused: The branches of its training that were fused; None where there were none.
        fit: What of the checkpoint it got; None with random weights.
    """

    module: nn.Module
    card: ModelCard
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    num_classes: int
    returns: Returned
    outputs: int
    output_names: tuple[str, ...]
    fused: Fused | None
    fit: Fit | None


def build_own_model(
    own: OwnModel,
    *,
    num_classes: int | None,
    input_size: tuple[int, int] | None,
    options: Mapping[str, OptionValue],
    seed: int,
    load: Load | None,
) -> BuiltModel:
    """Build the model, fill it, and only then run it: what it keeps from its first call is then of its own weights.

    Args:
        own: The function.
        num_classes: The class count that was asked for.
        input_size: Height and width that were asked for.
        options: Options of the function.
        seed: The seed of random weights.
        load: Fills the model with its weights; None leaves the random ones.

    Raises:
        BadInputError: The function fails, or what it builds is no model, does not take the input or the weights, or
            is not determined by its weights.
        UsageError: The function does not take an option, or nobody says the input size.
    """
    build = partial(call_builder, own, num_classes=num_classes, input_size=input_size, options=options)
    with seeded(seed):
        module, card = drafted(own.name, build())
    preprocessing = card.preprocessing(own.name, input_size)
    size, surroundings = preprocessing.input_size, partial(beside, own.folder)
    fit = _prepare(own.name, module, size, load)
    tried = trial.try_out(own.name, module, size, surroundings)
    if load is not None:
        with seeded(seed + 1), _filled_when_called(load):
            fresh, _ = drafted(own.name, build())
        _prepare(own.name, fresh, size, load)
        with surroundings(), torch.no_grad():
            _check_determined(own.name, module, fresh, size)
    module, fused = fuse_branches(module, size, surroundings)
    returns = returned_by(module, card, tried, options)
    classes = tried.classes if returns == "logits" else 0
    if num_classes is not None and not classes:
        has = outputs_in_words(returns, tried.outputs)
        raise BadInputError(
            f"{own.name} has {has}, not one of logits, so it has no {num_classes} classes.",
            hint="Omit the class count, or return only the logits (batch, classes).",
            code="class_count",
        )
    if num_classes is not None and classes != num_classes:
        raise BadInputError(f"{own.name} has {classes} classes, not {num_classes}.", code="class_count")
    labels = card.labels if card.labels is None or num_classes in (None, len(card.labels)) else None
    return BuiltModel(
        module=module,
        card=card.describe(own.name, module, preprocessing, classes),
        preprocessing=preprocessing,
        labels=labels,
        num_classes=classes,
        returns=returns,
        outputs=tried.outputs,
        output_names=tried.names,
        fused=fused,
        fit=fit,
    )


def drafted(name: str, built: object) -> tuple[nn.Module, Card]:
    """Take apart what a function returned: the model, without wrappers, and its card.

    Raises:
        BadInputError: It is no model, or the card is none.
    """
    returned, stated = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
    module = module_of(returned)
    if not isinstance(module, nn.Module):
        if isinstance(module, type):
            raise BadInputError(
                f"{name} returns the class {module.__name__}, not a model.",
                hint=f"Return an instance of it: {module.__name__}().",
                code="own_model",
            )
        raise BadInputError(
            f"{name} returns {described(module)}, not a torch.nn.Module.",
            hint="Return the model, or the model and its card.",
            code="own_model",
        )
    return plain_module(name, module), read_card(name, stated)


def _prepare(name: str, module: nn.Module, size: tuple[int, int], load: Load | None) -> Fit | None:
    """Fill a module in training mode and leave it in evaluation mode.

    Modules that cache or merge weights for evaluation drop what they have when they are put into training mode.
    """
    if is_lazy(module):
        with torch.no_grad():
            trial.run_on(name, module.eval(), trial.sample(1, size))
    with _said_of(name):
        module.train()
        fit = None if load is None else load(module)
        module.eval()
    return fit


@contextmanager
def _said_of(name: str) -> Iterator[None]:
    """Tell of a module that has no modes to change between."""
    try:
        yield
    except NotImplementedError as error:
        raise BadInputError(
            f"{name} cannot be put into evaluation mode: {str(error).partition(chr(10))[0]}",
            hint="Return the torch.nn.Module, not a program of torch.export.",
            code="own_model",
        ) from error


def _check_determined(name: str, module: nn.Module, fresh: nn.Module, size: tuple[int, int]) -> None:
    """Refuse a model that answers otherwise than one which never had other weights than the checkpoint's."""
    image = trial.sample(1, size)
    mine, its = trial.run_on(name, module, image.clone()), trial.run_on(name, fresh, image.clone())
    apart = trial.difference(its, mine)
    if apart > trial.SAME:
        raise BadInputError(
            f"{name} is not determined by its checkpoint: a second instance with the same checkpoint differs "
            f"by {apart:.1%} of the largest output.",
            hint="It keeps a random value outside of its state dict: a value cached by a call while "
            "it is built, or a random tensor that is no buffer. Compute it in the forward pass, or register it as a "
            "persistent buffer.",
            code="not_determined",
        )


@contextmanager
def _filled_when_called(load: Load) -> Iterator[None]:
    """Give every model that a function runs while it builds the checkpoint's weights first, where they fit."""
    depth = 0

    def enter(module: nn.Module, _inputs: Any) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            with suppress(MvtError, RuntimeError):
                load(module)

    def leave(_module: nn.Module, _inputs: Any, _outputs: Tensor) -> None:
        nonlocal depth
        depth -= 1

    hooks = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what functions draw weights from, and leave the generators as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # what people's code uses
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
