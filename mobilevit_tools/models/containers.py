"""Which of the dictionaries in a checkpoint are the weights, and which of those the moving average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from torch import Tensor

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.keys import LISTED_KEYS, holds_average, is_of_training

EMA_KEYS = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "ema_state_dict",
    "params_ema",
    "ema_model",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "ema_params",
    "ema_weights",
)
RAW_KEYS = (
    "state_dict",
    "model",
    "model_state_dict",
    "module",
    "net",
    "params",
    "network",
    "weights",
    "model_state",
    "net_state_dict",
    "model_weights",
)
_NOT_WEIGHTS = ("optimizer", "scheduler", "scaler", "averaging_state", "callbacks", "rng_state", "hyper_parameters")
_EXTRA = "_extra_state"
"""What torch calls a module's own state, which may be anything; no tensor is lost with it."""


def select(content: object, source: str, ema: bool | None) -> tuple[dict[str, Tensor], bool | None]:
    """Find the state dict in what a file held.

    Args:
        content: What the file held.
        source: What it is called in errors.
        ema: Take the moving average (True), the raw weights (False), or the average where there is one (None).

    Returns:
        The tensors, and whether they are the moving average; None where the file tells of none.

    Raises:
        BadInputError: There is none, not the one that was asked for, or several and no way to tell them apart.
    """
    average, raw = _both(content, source)
    if ema is not False and average is not None:
        return _tensors(average), True
    if raw is not None and (ema is not True or holds_average(raw)):
        return _tensors(raw), None if average is None else False
    if average is not None:
        what, hint, code = "only the moving average (EMA) of the weights", "Give --ema.", "no_raw_weights"
    elif raw is not None:
        what, hint, code = "no moving average (EMA) of the weights", "Give --no-ema.", "no_ema"
    else:
        what, hint, code = f"no state dict: {_outline(content)}", None, "no_state_dict"
    raise BadInputError(f"{source} holds {what}.", hint=hint, code=code)


def is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Tell whether a value maps names to tensors."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) for key in value)
        and all(isinstance(item, Tensor) or item is None or key.endswith(_EXTRA) for key, item in value.items())
        and any(isinstance(item, Tensor) for item in value.values())
    )


def _both(content: object, source: str) -> tuple[Mapping[str, Tensor] | None, Mapping[str, Tensor] | None]:
    """Return the moving average and the raw weights, each None where it is not there."""
    if is_state_dict(content):
        return None, content
    if not isinstance(content, Mapping):
        return None, None
    main = content.get("state_dict")
    if is_state_dict(main):
        # Two trainers store the average as the state dict, and what it was an average of elsewhere: Lightning's
        # WeightAveraging callback, and mmengine's EMAHook, which exchanges both when it saves.
        swapped = "ema_state_dict" if _is_of_mmengine(content) else "current_model_state"
        if is_state_dict(content.get(swapped)):
            return main, content[swapped]
    average, raw = _find(content, EMA_KEYS), _find(content, RAW_KEYS)
    if average is None and raw is None:
        raw = _only(content, source)
    return average, raw


def _is_of_mmengine(content: Mapping[object, object]) -> bool:
    meta = content.get("meta")
    return "message_hub" in content or (isinstance(meta, Mapping) and "mmengine_version" in meta)


def _find(content: object, keys: tuple[str, ...], *, nested: bool = True) -> Mapping[str, Tensor] | None:
    """Return the first state dict under one of the keys, or one level below, where wrappers keep theirs."""
    if not isinstance(content, Mapping):
        return None
    for key in keys:
        value = content.get(key)
        if is_state_dict(value):
            return value
        if nested and (inner := _find(value, RAW_KEYS, nested=False)) is not None:
            return inner
    return None


def _only(content: Mapping[object, object], source: str) -> Mapping[str, Tensor] | None:
    """Return the one state dict that is there, whatever it is called; None where there is none."""
    found = dict(_others(content))
    if not found and any(isinstance(value, Tensor) and "." in str(key) for key, value in content.items()):
        # Weights at the top, with an epoch or a configuration beside them.
        return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if len(found) > 1:
        named = " and ".join(found)
        raise BadInputError(
            f"{source} holds {len(found)} state dicts, under {named}.",
            hint=f"Save the one that you need separately: torch.save(checkpoint[{next(iter(found))!r}], "
            "'weights.pth').",
            code="several_state_dicts",
        )
    return next(iter(found.values()), None)


def _others(content: Mapping[object, object]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    for key, value in content.items():
        if not isinstance(key, str) or any(word in key for word in _NOT_WEIGHTS) or is_of_training(key):
            continue
        inner = value if is_state_dict(value) else _find(value, RAW_KEYS)
        if inner is not None and any(isinstance(tensor, Tensor) and tensor.ndim for tensor in inner.values()):
            yield key, inner


def _tensors(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in found.items() if isinstance(tensor, Tensor)}


def _outline(content: object) -> str:
    if isinstance(content, Mapping) and content:
        return f"its keys are {', '.join(str(key)[:40] for key in list(content)[:LISTED_KEYS])}"
    return f"its content is a {type(content).__name__}"
