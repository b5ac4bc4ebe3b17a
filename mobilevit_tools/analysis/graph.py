"""What MACs and memory are read from: the exported graph of a module's forward pass in evaluation mode."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from mobilevit_tools.blame import line_of, reason_and_remedy
from mobilevit_tools.errors import BadInputError


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put ``module`` into evaluation mode, without gradients, and restore every submodule's own mode afterwards."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for child, mode in modes:
            child.training = mode


def example_input(module: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """Return zeros of ``input_shape`` in the floating type and on the device of the module's weights."""
    weight = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), torch.zeros(()))
    return torch.zeros(input_shape, dtype=weight.dtype, device=weight.device)


def exported_program(module: nn.Module, input_shape: tuple[int, ...]) -> ExportedProgram:
    """Export ``module`` for one input of ``input_shape``, in evaluation mode, as ATen operators.

    Raises:
        BadInputError: ``torch.export`` cannot trace the module at this size.
    """
    with evaluating(module):
        try:
            return torch.export.export(module, (example_input(module, input_shape),), strict=False)
        except Exception as error:  # torch.export raises many unrelated types for what users' modules do
            size = "x".join(str(side) for side in input_shape)
            reason, remedy = reason_and_remedy(error)
            line = line_of(error)
            raise BadInputError(
                f"{type(module).__name__} cannot be traced for an input of {size}: {reason}"
                + (f" ({line})" if line else ""),
                hint=remedy or "The model must be traceable by torch.export; -vv shows its traceback.",
                code="not_traceable",
            ) from error


def module_path(node: Node) -> str:
    """Return the dotted path of the innermost module that ``node`` was traced in; empty for the root."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path: str = list(stack.values())[-1][0]
    return path


def tensors_of(node: Node) -> list[Tensor]:
    """Return the fake tensors that ``node`` yields."""
    value = node.meta.get("val")
    values = value if isinstance(value, tuple | list) else [value]
    return [tensor for tensor in values if isinstance(tensor, Tensor)]
