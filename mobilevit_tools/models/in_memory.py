"""A module that is in memory only, such as one that a notebook has just trained; it stays as it is."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import torch
from torch import nn

from mobilevit_tools.data.preprocessing import Interpolation
from mobilevit_tools.errors import UsageError
from mobilevit_tools.models.builder import OwnModel
from mobilevit_tools.models.factory import LoadedModel, with_labels
from mobilevit_tools.models.frozen import freeze
from mobilevit_tools.models.guard import guarded
from mobilevit_tools.models.names import is_registered
from mobilevit_tools.models.own_build import build_own_model
from mobilevit_tools.models.provenance import IN_MEMORY, Weights
from mobilevit_tools.models.unwrapping import unwrapped

_NAME = re.compile(r"\w[\w.-]*")


def load_module(
    module: nn.Module,
    *,
    name: str | None = None,
    card: Mapping[str, object] | None = None,
    input_size: tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
) -> LoadedModel:
    """Copy a module, try the copy out, and put it into evaluation mode in float32 on the CPU.

    The module itself keeps its modes, hooks, device, element type and what else it has; nothing runs it.

    Args:
        module: Any module that takes images (B, 3, H, W).
        name: What artifacts call it; by default the name of its class.
        card: What is known of it, fields of a :class:`~mobilevit_tools.Card` by name. The others are what the module
            says itself in a ``pretrained_cfg``, as models of timm do.
        input_size: Height and width in pixels, in place of the card's.
        labels: Class names in index order, in place of the card's.

    Raises:
        BadInputError: The module cannot be copied, does not take the input, or returns what cannot be exported.
        UsageError: Nobody says the input size, or the name cannot be one.
    """
    name = module_name(module, name)
    own = OwnModel(name, lambda: (_copied(module), {**_said_by(module), **(card or {})}))
    built = build_own_model(own, num_classes=None, input_size=input_size, options={}, seed=0, load=None)
    freeze(built.module, name)
    loaded = LoadedModel(
        name=name,
        card=built.card,
        module=built.module,
        num_classes=built.num_classes,
        labels=None,
        preprocessing=built.preprocessing,
        weights=Weights(IN_MEMORY, digest_of(built.module), None),
        returns=built.returns,
        license=built.card.license,
        outputs=built.outputs,
        output_names=built.output_names,
        fused=built.fused,
    )
    return with_labels(loaded, built.labels if labels is None else labels)


def module_name(module: nn.Module, name: str | None) -> str:
    """Return what artifacts call a module.

    Raises:
        UsageError: The name is of no use for a folder, or that of a model that mvt ships.
    """
    if name is None:
        name = type(unwrapped(module)).__name__
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid model name.", hint="Use letters, digits and any of _ . -")
    if is_registered(name):
        raise UsageError(f"{name} is the name of a bundled model.", hint="Choose another name.")
    return name


def digest_of(module: nn.Module) -> str:
    """Return a digest of a module's weights and buffers: their names, shapes, types and values."""
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _said_by(module: nn.Module) -> dict[str, object]:
    """Return the card of a module that has its input's configuration with it, as timm's models have."""
    said = getattr(unwrapped(module), "pretrained_cfg", None)
    if not isinstance(said, Mapping):
        return {}
    size, crop = said.get("input_size"), said.get("crop_pct")
    card = {
        "input_size": tuple(size[1:]) if isinstance(size, tuple | list) and len(size) == 3 else None,
        "crop_fraction": None if crop is None or said.get("crop_mode") == "squash" else min(crop, 1.0),
        "interpolation": said.get("interpolation") if said.get("interpolation") in get_args(Interpolation) else None,
        "mean": said.get("mean"),
        "std": said.get("std"),
        "license": said.get("license"),
    }
    return {name: value for name, value in card.items() if value is not None}


def _copied(module: nn.Module) -> nn.Module:
    whole = unwrapped(module)
    memo = {id(tensor): tensor.detach().clone() for tensor in _results(whole)}
    duplicate: nn.Module = guarded(
        f"Copying {type(whole).__name__}",
        lambda: copy.deepcopy(whole, memo),
        hint="mvt copies the module: remove attributes that cannot be copied, such as an open file or a lock.",
    )
    for child in duplicate.modules():  # no gradient is ever asked for
        child._backward_hooks.clear()
        child._backward_pre_hooks.clear()
    return duplicate


def _results(module: nn.Module) -> Iterator[torch.Tensor]:
    """Yield what an earlier call left in attributes with its history of gradients, which torch does not copy."""
    for child in module.modules():
        for value in vars(child).values():
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, torch.Tensor) and not each.is_leaf:
                    yield each
