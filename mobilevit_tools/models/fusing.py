"""Branches that only training needs, fused by the call that their authors wrote for it, and proved.

LeViT's convolutions with BatchNorm, FastViT's, RepVGG's and MobileOne's parallel branches: whoever trains them has a
method that makes one layer of each. It is called before anything else is done with a model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import Parameter, signature

import torch
from torch import nn

from mobilevit_tools.double import InDouble
from mobilevit_tools.models import trial
from mobilevit_tools.models.branches import Fused

METHODS = ("fuse", "reparameterize", "switch_to_deploy")
"""What timm, torch's users and the authors of RepVGG call it, in the order in which timm asks."""
EXACT = 1e-9
"""Largest difference that float64 may show, relative to the largest output; rounding alone leaves some 1e-14."""
_PROOFS = 2
_ROUNDED = 1e-2
"""Largest difference in float32: what was fused must still run as float32, whatever the model makes of rounding."""


def fuse_branches(
    module: nn.Module,
    size: tuple[int, int],
    surroundings: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[nn.Module, Fused | None]:
    """Fuse what has a method for it, in a copy, and prove in float64 that the copy computes the same.

    A model for which this cannot be proved stays as it is: a method of that name may do something else.

    Args:
        module: The model in evaluation mode, with its weights.
        size: Height and width.
        surroundings: What its forward pass needs around it.

    Returns:
        The fused copy in float32, or the model itself, and what was done; None where no module has such a method.
    """
    if not any(_method(each) for each in module.modules()):
        return module, None
    images = [trial.sample(1, size) * (1 + index) for index in range(_PROOFS)]
    wide_images = [image.double() for image in images]
    try:
        wide = copy.deepcopy(module).double().eval()
        with surroundings(), torch.no_grad(), torch.random.fork_rng(devices=[]), _double_by_default():
            with InDouble():
                before = [wide(image.clone()) for image in wide_images]
            wide, places = _fuse(wide)
            with InDouble():
                after = [wide.double().eval()(image.clone()) for image in wide_images]
        difference = max(map(trial.difference, before, after))
        if not difference <= EXACT:
            return module, _left(f"the fused model differs by {difference:.2g} of the largest output")
        with surroundings(), torch.no_grad():
            narrow = wide.float().requires_grad_(requires_grad=False)
            if trial.difference(module(images[0].clone()), narrow(images[0].clone())) > _ROUNDED:
                return module, _left("the fused model differs in float32")
    except Exception as error:  # whatever others' code raises: the model as it is stays right
        return module, _left(f"{type(error).__name__}: {error}".partition("\n")[0])
    return narrow, Fused(places, _count(module) - _count(narrow), difference)


def _fuse(module: nn.Module) -> tuple[nn.Module, int]:
    """Fuse a module and what is inside of it; a method may return what takes the module's place."""
    method, places = _method(module), 0
    if method is not None:
        returned = method()
        places = 1
        if isinstance(returned, nn.Module):
            module = returned
    for name, child in list(module.named_children()):
        fused, inside = _fuse(child)
        places += inside
        if fused is not child:
            setattr(module, name, fused)
    return module, places


def _method(module: nn.Module) -> Callable[[], object] | None:
    """Return a module's own method that fuses it, which takes no arguments."""
    for name in METHODS:
        method = getattr(type(module), name, None)
        if not callable(method):
            continue
        bound: Callable[[], object] = getattr(module, name)
        if all(each.default is not Parameter.empty or each.kind in _VARIABLE for each in _parameters(bound)):
            return bound
    return None


_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def _parameters(method: Callable[[], object]) -> list[Parameter]:
    return list(signature(method).parameters.values())


def _left(why: str) -> Fused:
    return Fused(0, 0, 0.0, why)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def _double_by_default() -> Iterator[None]:
    """Let layers that a method makes be of float64: many name no type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
