"""Checkpoint intake: find the weights in every layout that people really have, and load them strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from torch import Tensor, nn

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import hub
from mobilevit_tools.models.decoding import decode

MAX_BYTES = 8 * 1024**3
MAX_CLASSES = 250_000  # a model is built for a file's class count before its other shapes are compared
LISTED_KEYS = 10
EMA_KEYS = ("state_dict_ema", "model_ema", "ema")
RAW_KEYS = ("state_dict", "model", "model_state_dict", "module")
WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
AVERAGE_COUNT = "n_averaged"  # torch.optim.swa_utils.AveragedModel keeps it beside the wrapped module's keys


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one file.

    Attributes:
        state_dict: Tensors by key, in the file's own types and under the file's own keys: what wrapped them is known
            only beside a model (:func:`unwrapped`).
        source: The path or address that was read.
        sha256: Digest of the file.
        ema: Whether the exponential moving average of the weights was taken; None where the file tells of none.
    """

    state_dict: Mapping[str, Tensor]
    source: str
    sha256: str
    ema: bool | None

    def class_count(self, classifier: str) -> int | None:
        """Return the rows of the linear layer at prefix ``classifier``; None where there is no such layer.

        Raises:
            BadInputError: There are too many to build a model of.
        """
        names = (f"{classifier}.weight", f"{classifier}.bias")
        for tensor in (tensors.get(name) for tensors in _unwrappings(self.state_dict) for name in names):
            if tensor is not None and tensor.ndim:
                if tensor.shape[0] > MAX_CLASSES:
                    raise BadInputError(
                        f"{self.source} claims {tensor.shape[0]} classes, more than {MAX_CLASSES}.", code="class_count"
                    )
                return tensor.shape[0]
        return None


def read_checkpoint(source: str, *, ema: bool | None = None) -> Checkpoint:
    """Read a state dict from a ``.pth``, ``.pt``, ``.pth.tar`` or ``.safetensors`` file, judged by its content.

    Args:
        source: A path, ``hf://owner/repo/file`` or ``hf://owner/repo@revision/file``.
        ema: Take the exponential moving average of the weights (True), the raw weights (False), or the average
            where there is one (None).

    Raises:
        BadInputError: The file is missing, damaged, no checkpoint, a pickle that wants to run code, or it lacks the
            weights that ``ema`` asks for.
        MissingDependencyError: ``hf://`` without ``huggingface_hub``.
    """
    content = _read(hub.download(source) if source.startswith(hub.SCHEME) else Path(source))
    state_dict, took_ema = _select(decode(content, source), source, ema)
    for key, tensor in state_dict.items():
        if tensor.nbytes > len(content):  # strides of zero make a tensor of any size from one number
            raise BadInputError(
                f"{source} claims {tensor.nbytes} bytes for {key}, more than the whole file has.",
                code="checkpoint_expands",
            )
    return Checkpoint(dict(state_dict), source, hashlib.sha256(content).hexdigest(), took_ema)


def unwrapped(state_dict: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Strip the prefixes of DataParallel, torch.compile and trainer modules, no further than ``module`` needs.

    A model may keep its layers under ``model`` or ``module`` itself, so of the forms with fewer and fewer prefixes the
    first that shares most keys with the model is taken.
    """
    own = module.state_dict().keys()
    return max(_unwrappings(state_dict), key=lambda tensors: len(own & tensors.keys()))


def load_strictly(module: nn.Module, checkpoint: Checkpoint, *, surplus: Collection[str] = ()) -> None:
    """Copy a checkpoint into ``module``, in the module's own types; every key, shape and kind of number must fit.

    Prefixes of wrappers are stripped, see :func:`unwrapped`.

    Args:
        module: The model to fill.
        checkpoint: What :func:`read_checkpoint` returned.
        surplus: Keys that the checkpoint may have although the module lacks them.

    Raises:
        BadInputError: Keys are missing, unexpected or do not fit; the first ten are listed.
    """
    own = module.state_dict()
    tensors = unwrapped(checkpoint.state_dict, module)
    given = {key: tensor for key, tensor in tensors.items() if key in own or key not in surplus}
    problems = [f"{key} is missing" for key in own if key not in given]
    problems += [f"{key} is unexpected" for key in given if key not in own]
    for key in (key for key in own if key in given):
        tensor, expected = given[key], own[key]
        if tensor.shape != expected.shape:
            problems.append(f"{key} has shape {_shape(tensor)} instead of {_shape(expected)}")
        elif tensor.is_floating_point() != expected.is_floating_point():
            problems.append(f"{key} has type {_dtype(tensor)} instead of {_dtype(expected)}")
    if problems:
        rest = len(problems) - LISTED_KEYS
        listing = "; ".join(problems[:LISTED_KEYS]) + (f"; and {rest} more" if rest > 0 else "")
        raise BadInputError(
            f"{checkpoint.source} does not fit {type(module).__name__}: {listing}.",
            hint="Name the architecture, with the options, that the checkpoint was trained with.",
            code="checkpoint_mismatch",
        )
    module.load_state_dict(given, strict=True)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise BadInputError(
            f"{path} is a folder, not a checkpoint.", hint="Give the file inside it.", code="not_a_checkpoint"
        )
    if not path.exists():
        raise BadInputError(f"There is no checkpoint at {path}.", code="no_such_checkpoint")
    if not path.is_file():
        raise BadInputError(f"{path} is not a regular file.", code="not_a_checkpoint")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(f"{path} is larger than {MAX_BYTES // 1024**3} GiB.", code="not_a_checkpoint")
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.", code="unreadable_checkpoint") from error


def _select(content: object, source: str, ema: bool | None) -> tuple[Mapping[str, Tensor], bool | None]:
    average = _find(content, EMA_KEYS)
    raw = content if _is_state_dict(content) else _find(content, RAW_KEYS)
    if ema is not False and average is not None:
        return average, True
    if ema is not True and raw is not None:
        return raw, None if average is None else False
    if average is not None:
        what, hint, code = "nothing but the moving average of the weights", "Give --ema.", "no_raw_weights"
    elif raw is not None:
        what, hint, code = "no moving average of the weights", "Give --no-ema.", "no_ema"
    else:
        what, hint, code = f"no state dict: {_outline(content)}", None, "no_state_dict"
    raise BadInputError(f"{source} holds {what}.", hint=hint, code=code)


def _outline(content: object) -> str:
    if isinstance(content, Mapping) and content:
        return f"its keys are {', '.join(str(key)[:40] for key in list(content)[:LISTED_KEYS])}"
    return f"its content is a {type(content).__name__}"


def _find(content: object, keys: tuple[str, ...], *, nested: bool = True) -> Mapping[str, Tensor] | None:
    """Return the first state dict under one of the keys, or one level below, where wrappers keep theirs."""
    if not isinstance(content, Mapping):
        return None
    for key in keys:
        value = content.get(key)
        if _is_state_dict(value):
            return value
        if nested and (inner := _find(value, RAW_KEYS, nested=False)) is not None:
            return inner
    return None


def _is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _unwrappings(state_dict: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the weights as they are, and again after each wrapper's prefix that every key carries."""
    tensors = dict(state_dict)
    yield tensors
    averaged = tensors.keys() - {AVERAGE_COUNT}
    if averaged and all(key.startswith("module.") for key in averaged):
        tensors = {key: tensor for key, tensor in tensors.items() if key in averaged}
    while prefix := next((p for p in WRAPPER_PREFIXES if all(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
        yield tensors
