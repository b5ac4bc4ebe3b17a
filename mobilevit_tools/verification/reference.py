"""The PyTorch model that artifacts are compared with: its float32, and what its float64 says of that."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mobilevit_tools.double import InDouble

if TYPE_CHECKING:
    from numpy.typing import NDArray

Reference = Callable[["NDArray[np.float32]"], "list[NDArray[Any]]"]


NUDGES = 3
"""Inputs that differ from the given one by rounding alone, to see what float32 makes of rounding."""


@dataclass(frozen=True)
class Exact:
    """What the model gives for one image, output by output, without a batch dimension.

    Attributes:
        float64: In float64.
        float32: In float32, computed in several equally right ways. A single one may be near float64 by luck.
    """

    float64: Sequence[NDArray[Any]]
    float32: Sequence[Sequence[NDArray[Any]]]


class TorchReference:
    """Runs a module, always on a copy of the input: a module that changes its input must not change what is compared.

    Args:
        module: A model in evaluation mode, in float32.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, tensor: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Run the module on a float32 input and give all its outputs."""
        return _run(self._module, torch.tensor(tensor))

    @cached_property
    def _double(self) -> nn.Module:
        return copy.deepcopy(self._module).double()

    def exact(self, tensor: NDArray[np.float32]) -> Exact | None:
        """Return what the module gives for one image (1, 3, H, W) in float64 and float32.

        None where it does not run in float64, or has no finite answer there.
        """
        try:
            with InDouble():
                float64 = _run(self._double, torch.tensor(tensor).double())
        except Exception:  # what a module of others raises when it is copied or widened says nothing of an artifact
            return None
        if not all(np.isfinite(output).all() for output in float64):
            return None
        return Exact(_only(float64), [_only(outputs) for outputs in self._float32_ways(tensor)])

    def _float32_ways(self, tensor: NDArray[np.float32]) -> Iterator[list[NDArray[Any]]]:
        yield self(tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch tells of TF32 on devices that are not there
            with torch.backends.mkldnn.flags(enabled=False):
                yield self(tensor)
        yield _run(self._module, torch.tensor(tensor).contiguous(memory_format=torch.channels_last))
        rng = np.random.default_rng(0)
        for _ in range(NUDGES):
            towards = np.where(rng.integers(0, 2, tensor.shape), np.inf, -np.inf).astype(np.float32)
            yield self(np.nextafter(tensor, towards))


def torch_reference(module: nn.Module) -> TorchReference:
    """Return a function that runs a module on a float32 input and gives all its outputs as arrays."""
    return TorchReference(module)


def _run(module: nn.Module, given: Tensor) -> list[NDArray[Any]]:
    with torch.inference_mode():
        outputs = module(given)
    return [output.numpy() for output in ([outputs] if isinstance(outputs, Tensor) else outputs)]


def _only(outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    return [output[0] for output in outputs]
