"""Run a model in float64, also where it asks for float32 by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVERSIONS = (Tensor.float, Tensor.half, Tensor.bfloat16)
_ASSERTION = torch.ops.aten._assert_tensor_metadata.default
"""What a trace leaves in front of a conversion: that its input has the type that it had when it was traced."""
_NARROWER = (torch.float16, torch.bfloat16, torch.float32)


class InDouble(TorchFunctionMode):
    """Takes every narrower real type that a call names for float64.

    Norms and softmaxes that a model computes "in float32" would round what a proof in float64 compares.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func is _ASSERTION:
            return None
        if func in _CONVERSIONS:
            func = Tensor.double
        # No call has a type inside a list, and what one has in a container, such as a copy's memo, may be everything.
        named = {name: _widened(value) for name, value in (kwargs or {}).items()}
        return func(*map(_widened, args), **named)


def _widened(value: object) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROWER else value
