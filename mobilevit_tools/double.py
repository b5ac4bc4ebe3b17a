"""Run a model in float64, also where it asks for float32 by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

_CONVERSIONS = (Tensor.float, Tensor.half, Tensor.bfloat16)
ASSERTION = torch.ops.aten._assert_tensor_metadata.default
"""What a trace leaves in front of a conversion: that its input has the type that it had when it was traced."""
_NARROWER = (torch.float16, torch.bfloat16, torch.float32)


class InDouble(TorchFunctionMode):
    """Takes every narrower real type that a call names for float64, and makes new tensors of that type.

    Norms and softmaxes that a model computes "in float32" would round what a proof in float64 compares. Products and
    samplings take one type alone: a constant that a model keeps in float32 is widened for them.
    """

    def __enter__(self) -> Self:
        """Make float64 the type of tensors that are made without one."""
        self._default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        entered: Self = super().__enter__()  # type: ignore[no-untyped-call]
        return entered

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give tensors their former type back."""
        super().__exit__(kind, value, traceback)  # type: ignore[no-untyped-call]
        torch.set_default_dtype(self._default)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func is ASSERTION:
            return None
        if func in _CONVERSIONS:
            func = Tensor.double
        # No call has a type inside a list, and what one has in a container, such as a copy's memo, may be everything.
        named = {name: _widened(value) for name, value in (kwargs or {}).items()}
        try:
            return func(*map(_widened, args), **named)
        except RuntimeError:
            if not _mixes(args, named) or _changes(func):
                raise
        return func(*tree_map(_wide, args), **tree_map(_wide, named))


def _mixes(args: tuple[object, ...], named: Mapping[str, object]) -> bool:
    """Whether a call takes tensors of float64 beside narrower ones."""
    types = {leaf.dtype for leaf in tree_leaves((args, dict(named))) if isinstance(leaf, Tensor)}
    return torch.float64 in types and not types.isdisjoint(_NARROWER)


def _changes(func: Callable[..., object]) -> bool:
    """Whether a call changes one of its tensors, of which it must not get a copy."""
    return getattr(func, "__name__", "").endswith("_")


def _wide(value: object) -> Any:
    if isinstance(value, Tensor) and value.dtype in _NARROWER:
        return value.double()
    return _widened(value)


def _widened(value: object) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROWER else value
