"""Seeded weights under which an untrained model computes something: what a benchmark verifies where none are at hand.

Freshly built, a network hides its own faults: layer scales of 1e-6 leave the blocks out, norms without statistics let
values die out or explode, and biases of zero cannot be dropped wrongly. Parity then compares rounding with rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.names import is_registered
from mobilevit_tools.models.own import call_builder, find_own_model
from mobilevit_tools.models.own_build import drafted, seeded
from mobilevit_tools.process_state import restoring

if TYPE_CHECKING:
    from mobilevit_tools.models.options import OptionValue

PHOTOS, NOISE, FLAT = 4, 2, 2
"""Images of each kind in a batch."""
EXTREMES = (-2.2, 2.6)
"""Black and white, as most models normalise them."""
ROUNDS = 2
LEAST_GAIN = 0.5
"""A layer with a smaller root of the sum of its squared weights is enlarged: by depth 20 nothing would be left."""

LEAST_VARIANCE = 0.05
"""Of the mean of all channels: a norm would enlarge what one of them rarely has, until its like comes."""


@restoring
def write_settled(
    name: str,
    path: Path,
    *,
    input_size: tuple[int, int] | None = None,
    options: Mapping[str, OptionValue] | None = None,
    seed: int = 0,
) -> None:
    """Build a model, settle it and write its weights as safetensors.

    Args:
        name: The model: an architecture of this project, or one of a source.
        path: Receives the weights.
        input_size: Height and width of its input; by default its own.
        options: Options of its builder.
        seed: The seed of everything that is drawn.

    Raises:
        BadInputError: It cannot be built.
        UsageError: It does not take an option.
    """
    from safetensors.torch import save_model

    own = None if is_registered(name) else find_own_model(name)
    with seeded(seed):
        if own is None:
            loaded = load_model(name, random_weights=True, input_size=input_size, options=options)
            module, size = loaded.module, loaded.preprocessing.input_size
        else:
            built = call_builder(own, num_classes=None, input_size=input_size, options=options or {})
            module, card = drafted(own.name, built)
            size = card.preprocessing(own.name, input_size).input_size
    settle(module, size, seed=seed)
    save_model(module, str(path))


@torch.no_grad()
def settle(module: nn.Module, size: tuple[int, int], *, seed: int = 0) -> None:
    """Draw what initialisation leaves constant, in place, and measure the statistics of the norms.

    Args:
        module: The model; it is in evaluation mode afterwards.
        size: Height and width of its input.
        seed: The seed of everything that is drawn.
    """
    draw = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.copy_(_varied(parameter, draw))
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for _ in range(ROUNDS if norms else 0):
        module(_images(size, draw))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        if norm.running_var is not None:
            norm.running_var += LEAST_VARIANCE * norm.running_var.mean()
    module.eval()


def _varied(parameter: Tensor, draw: torch.Generator) -> Tensor:
    if parameter.ndim > 1 and parameter.flatten()[0] != parameter.flatten()[-1]:
        gain = math.sqrt(float(parameter.square().mean()) * parameter[0].numel())
        return parameter * (1 / gain if 0 < gain < LEAST_GAIN else 1)
    value = float(parameter.flatten()[0]) if parameter.numel() else 0.0
    if (parameter != value).any():
        return parameter
    uniform = torch.rand(parameter.shape, generator=draw)
    if value == 0:
        return 0.1 * (uniform - 0.5)
    if abs(value) < LEAST_GAIN:  # a layer scale
        return 0.1 + 0.3 * uniform
    return value * (0.7 + 0.4 * uniform)


def _images(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Return a batch of all kinds that are verified: like photos, noise and flat colours.

    Without the last two, norms of what smooth images have little of would enlarge it hundredfold elsewhere: a network
    of such norms is chaotic, so that float32 itself is far from what the weights mean.
    """
    coarse = torch.randn(PHOTOS, 3, *(max(side // 16, 2) for side in size), generator=draw)
    smooth = nn.functional.interpolate(coarse, size=size, mode="bilinear")
    noise = torch.randn(NOISE, 3, *size, generator=draw)
    grey = torch.tensor(EXTREMES).reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    flat = torch.cat([grey, 2 * torch.randn(FLAT, 3, 1, 1, generator=draw)]).expand(-1, -1, *size)
    return torch.cat([1.2 * smooth + 0.15 * torch.randn(PHOTOS, 3, *size, generator=draw), noise, flat])
