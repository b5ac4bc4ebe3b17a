"""Run a module with some function calls replaced, whatever class makes them.

The replaced calls are seen as the module runs, in eager mode and under ``torch.export`` alike, so that a rewrite of a
function works on every model family and on users' own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from inspect import Signature, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Function = Callable[..., object]


class Run:
    """One forward pass: what earlier calls returned, and constants that live as long as the module."""

    def __init__(self, constants: BufferDict) -> None:
        self.places = 0
        self._constants = constants
        self._origins: dict[int, tuple[object, object]] = {}

    def remember(self, result: object, origin: object) -> None:
        """Note where a result came from; it is kept alive, so that its identity stays its own."""
        self._origins[id(result)] = (result, origin)

    def forget(self, changed: object) -> None:
        """Drop what was noted of or from a tensor whose values change in place."""
        self._origins = {
            key: (result, origin)
            for key, (result, origin) in self._origins.items()
            if result is not changed and origin is not changed
        }

    def origin(self, result: object) -> object | None:
        """Return what was noted of a result, or None."""
        return self._origins.get(id(result), (None, None))[1]

    def filled(self, shape: tuple[int, ...], value: float, like: Tensor) -> Tensor:
        """Return a buffer of the module that holds ``value``; a full() in the graph would be computed at each run."""
        size = "x".join(map(str, shape))
        name = f"filled_{size}_{value.hex()}".replace(".", "_").replace("-", "m").replace("+", "p")
        if name not in self._constants:
            self._constants[name] = torch.full(shape, value, dtype=like.dtype, device=like.device)
        return self._constants[name]


class BufferDict(nn.Module):
    """Buffers by name."""

    def __contains__(self, name: str) -> bool:
        return name in self._buffers

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)


_WRITING = frozenset({"__setitem__", *(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "pow", "floordiv"))})

Replacement = Callable[..., object]
"""Takes the :class:`Run` and the call's arguments; returns NotImplemented where the call should stay as it is, as does
a call with arguments that the replacement does not know."""


class _Mode(TorchFunctionMode):
    def __init__(self, run: Run, replacements: Mapping[Function, Replacement]) -> None:
        super().__init__()
        self.run = run
        self.replacements = replacements

    def __torch_function__(
        self, func: Function, types: object, args: tuple[object, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        replacement = self.replacements.get(func)
        if replacement is not None and _takes(replacement, self.run, *args, **(kwargs or {})):
            result = replacement(self.run, *args, **(kwargs or {}))
            if result is not NotImplemented:
                self.run.places += 1
                return result
        if args and _writes(func, kwargs or {}):
            self.run.forget(args[0])
        return func(*args, **(kwargs or {}))


def _writes(func: Function, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call changes its first argument: ``x.add_(1)``, ``x += 1``, ``x[0] = 1``, ``relu(x, inplace=True)``."""
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or name in _WRITING or bool(kwargs.get("inplace"))


_signature: Callable[[Replacement], Signature] = cache(signature)


def _takes(replacement: Replacement, *args: object, **kwargs: object) -> bool:
    try:
        _signature(replacement).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


class Replaced(nn.Module):
    """A module with calls of some functions replaced.

    The first pass makes the constants that the replacements need, so it must not be one that is being traced.

    Attributes:
        places: How many calls the last pass replaced, by the name of their rewrite.
    """

    def __init__(self, module: nn.Module, rewrites: Mapping[str, Mapping[Function, Replacement]]) -> None:
        super().__init__()
        self.module = module
        self.rewrites = dict(rewrites)
        self.constants = BufferDict()
        self.places: dict[str, int] = {}

    def pruned(self) -> nn.Module:
        """Drop the rewrites of which the last pass made no use; return the bare module where none is left."""
        self.rewrites = {name: self.rewrites[name] for name, places in self.places.items() if places}
        return self if self.rewrites else self.module

    def forward(self, x: Tensor) -> object:
        """Run the module."""
        runs = {name: Run(self.constants) for name in self.rewrites}
        with ExitStack() as stack:
            for name, replacements in self.rewrites.items():
                stack.enter_context(_Mode(runs[name], replacements))
            result = self.module(x)
        self.places = {name: run.places for name, run in runs.items()}
        return result
