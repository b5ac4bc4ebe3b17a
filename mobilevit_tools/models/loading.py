"""Fit a checkpoint to a model: find its names under what training wrapped around them, and load them strictly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import folding
from mobilevit_tools.models.keys import LISTED_KEYS, counts, forms, holds_average, is_average, is_of_training

if TYPE_CHECKING:
    from mobilevit_tools.models.checkpoint import Checkpoint

Adapt = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Fit:
    """A checkpoint's tensors under the names of a model.

    Attributes:
        tensors: The tensors that lie where the model's do.
        strangers: Keys beside the model, such as a loss's; they are not loaded.
        ema: Whether they are a moving average that was kept beside the raw weights in one state dict; None where there
            was no such choice.
    """

    tensors: Mapping[str, Tensor]
    strangers: tuple[str, ...] = ()
    ema: bool | None = None


def fit(state_dict: Mapping[str, Tensor], module: nn.Module, *, ema: bool | None = None, source: str = "") -> Fit:
    """Find the prefix, and what is inserted inside of keys, without which most keys are the model's own.

    Args:
        state_dict: Tensors under a file's own keys.
        module: The model.
        ema: Of two copies of which one is a moving average take that one (True or None), or the other.
        source: What the checkpoint is called in errors.

    Raises:
        BadInputError: It holds several copies of the model with different values, and nothing tells which to take.
    """
    own = module.state_dict()
    shared = _common_prefixes(own)
    best: tuple[int, dict[str, Tensor], str, list[str]] = (-1, {}, "", [])
    for keys in forms(state_dict):
        for outer in shared:  # a wrapper around the model that the checkpoint's did not have
            score, prefixes = _best_prefixes(keys, {key.removeprefix(outer): own[key].shape for key in own})
            if score > best[0]:
                best = score, keys, outer, prefixes
    _, keys, outer, prefixes = best
    prefix, took_ema = _choose(keys, prefixes, ema, source)
    names = {outer + key.removeprefix(prefix): key for key in keys if key.startswith(prefix)}
    names |= _elsewhere(keys, names, own)
    placed = set()
    for name in reversed(list(names)):  # what was found elsewhere goes before what only has its prefix
        if names[name] in placed or not (name in own or not is_of_training(name)):
            del names[name]
        else:
            placed.add(names[name])
    tensors = {name: keys[key] for name, key in names.items()}
    return Fit(_folded(tensors, module), tuple(key for key in keys if key not in placed and not counts(key)), took_ema)


def load_strictly(
    module: nn.Module, checkpoint: Checkpoint, *, surplus: Collection[str] = (), adapt: Adapt | None = None
) -> Fit:
    """Copy a checkpoint into ``module``, in the module's own types; every key, shape and kind of number must fit.

    Only what :func:`fit` finds beside the model is left out, and counters may be absent, as torch says.

    Args:
        module: The model to fill.
        checkpoint: What :func:`~mobilevit_tools.models.checkpoint.read_checkpoint` returned.
        surplus: Keys that the checkpoint may have although the module lacks them.
        adapt: Changes tensors to the module's shapes, where a family can do that.

    Returns:
        What was loaded.

    Raises:
        BadInputError: Keys are missing, unexpected or do not fit; the first ten are listed.
    """
    own = module.state_dict()
    found = fit(checkpoint.state_dict, module, ema=checkpoint.asked_ema, source=checkpoint.source)
    adapted = found.tensors if adapt is None else adapt(found.tensors)
    given = {key: tensor for key, tensor in adapted.items() if key in own or not (key in surplus or counts(key))}
    for key in own.keys() - given.keys():
        if key.endswith("num_batches_tracked"):
            given[key] = own[key]
    problems = list(_misfits(own, given))
    if problems:
        rest = len(problems) - LISTED_KEYS
        listing = "; ".join(problems[:LISTED_KEYS]) + (f"; and {rest} more" if rest > 0 else "")
        raise BadInputError(
            f"{checkpoint.source} does not fit {type(module).__name__}: {listing}.",
            hint="Use the architecture and options that the checkpoint was trained with.",
            code="checkpoint_mismatch",
        )
    module.load_state_dict(given, strict=True)
    return found


def _misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[str]:
    yield from (f"{key} is missing" for key in own if key not in given)
    yield from (f"{key} is unexpected" for key in given if key not in own)
    for key in (key for key in own if key in given):
        tensor, expected = given[key], own[key]
        if tensor.shape != expected.shape:
            yield f"{key} has shape {_shape(tensor)} instead of {_shape(expected)}"
        elif tensor.is_floating_point() != expected.is_floating_point():
            yield f"{key} has type {_dtype(tensor)} instead of {_dtype(expected)}"


def _common_prefixes(keys: Collection[str]) -> list[str]:
    """Return the dotted prefixes that all keys have, the empty one first."""
    first = next(iter(keys), "").split(".")[:-1]
    prefixes = ["".join(f"{part}." for part in first[:depth]) for depth in range(len(first) + 1)]
    return [prefix for prefix in prefixes if all(key.startswith(prefix) for key in keys)]


def _best_prefixes(keys: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> tuple[int, list[str]]:
    """Return how well keys fit behind the best prefix, and all prefixes as good, the shortest first.

    A wanted name counts, and counts double with the wanted shape.
    """
    scores: Counter[str] = Counter({"": 0})
    for key, tensor in keys.items():
        parts = key.split(".")
        for depth in range(len(parts)):
            rest = ".".join(parts[depth:])
            if rest in wanted or folding.plain_name(rest) in wanted:
                scores["".join(f"{part}." for part in parts[:depth])] += 2 if wanted.get(rest) == tensor.shape else 1
    best = max(scores.values())
    return best, sorted((prefix for prefix, score in scores.items() if score == best), key=len)


def _elsewhere(keys: Mapping[str, Tensor], names: Mapping[str, str], own: Mapping[str, Tensor]) -> dict[str, str]:
    """Find the rest of a model of which a part was wrapped alone, or saved under another name.

    Args:
        keys: A file's tensors.
        names: The file's keys by what they were taken for.
        own: The model's tensors.

    Returns:
        The file's keys by the model's, where one prefix has all that is missing and in its shape; nothing otherwise.
    """
    rest = keys.keys() - {key for name, key in names.items() if name in own}
    missing = [name for name in own if name not in names and not counts(name)]
    if not missing:
        return {}
    first = missing[0]
    prefixes = [key.removesuffix(first) for key in rest if key == first or key.endswith(f".{first}")]
    whole = [
        prefix
        for prefix in prefixes
        if not is_average(prefix)
        and all(prefix + name in rest and keys[prefix + name].shape == own[name].shape for name in missing)
    ]
    if len(whole) != 1:
        return {}
    counted = [name for name in own if name not in names and whole[0] + name in rest]
    return {name: whole[0] + name for name in (*missing, *counted)}


def _choose(keys: Mapping[str, Tensor], prefixes: list[str], ema: bool | None, source: str) -> tuple[str, bool | None]:
    """Choose among copies of the model in one state dict."""
    averages = [prefix for prefix in prefixes if is_average(prefix)]
    raw = [prefix for prefix in prefixes if prefix not in averages]
    if len(averages) == 1 and len(raw) == 1:
        return (raw[0], False) if ema is False else (averages[0], True)
    first = prefixes[0]
    if len(prefixes) == 1 and averages:
        if ema is False:
            raise BadInputError(
                f"{source} holds only the moving average (EMA) of the weights.",
                hint="Give --ema.",
                code="no_raw_weights",
            )
        return first, True
    if ema is True and holds_average(keys):
        raise BadInputError(
            f"{source} contains no moving average (EMA) of this model's weights.", hint="Give --no-ema.", code="no_ema"
        )
    for other in prefixes[1:]:
        copies = ((key, other + key.removeprefix(first)) for key in keys if key.startswith(first))
        if any(there in keys and not _equal(keys[here], keys[there]) for here, there in copies):
            shown = " and ".join(repr(prefix.rstrip(".")) for prefix in (first, other))
            raise BadInputError(
                f"{source} holds the model's weights more than once, with different values: under {shown}.",
                hint="Save the one that you need separately, for example {k: v for k, v in weights.items() if "
                f"k.startswith({other!r})}}.",
                code="several_state_dicts",
            )
    return first, None


def _equal(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and bool((left == right).all())


def _folded(given: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Fold weights that the file keeps in parts and the model does not."""
    own = module.state_dict()
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in given.items():
        plain = folding.plain_name(key)
        if key not in own and plain in own and plain not in given:
            parts.setdefault(str(plain), {})[key] = tensor
    for plain, tensors in parts.items():
        layer = _layer(module, plain)
        whole = folding.fold({folding.part_name(key): tensor for key, tensor in tensors.items()}, layer)
        if whole is not None:
            given = {key: tensor for key, tensor in given.items() if key not in tensors} | {plain: whole}
    return given


def _layer(module: nn.Module, key: str) -> nn.Module | None:
    try:
        return module.get_submodule(key.rpartition(".")[0])
    except AttributeError:
        return None


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
