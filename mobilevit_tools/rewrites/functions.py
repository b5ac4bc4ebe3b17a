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
        return func(*args, **(kwargs or {}))


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

    def forward(self, *inputs: Tensor) -> object:
        """Run the module."""
        runs = {name: Run(self.constants) for name in self.rewrites}
        with ExitStack() as stack:
            for name, replacements in self.rewrites.items():
                stack.enter_context(_Mode(runs[name], replacements))
            result = self.module(*inputs)
        self.places = {name: run.places for name, run in runs.items()}
        return result
