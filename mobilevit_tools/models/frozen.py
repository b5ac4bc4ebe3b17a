"""A model as it is exported: in evaluation mode, without gradients, with weights that are finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    from torch import nn

_STATISTICS = ("running_mean", "running_var")


def freeze(module: nn.Module, name: str) -> None:
    """Put a model into evaluation mode, without gradients, and refuse weights that are not finite.

    Infinity is allowed in buffers, where attention masks have it; not in a norm's statistics.
    """
    import torch

    module.eval().requires_grad_(requires_grad=False)
    constants = {key for key, _ in module.named_buffers(remove_duplicate=False) if not key.endswith(_STATISTICS)}
    for key, tensor in module.state_dict().items():
        if not isinstance(tensor, torch.Tensor):  # extra state of a module's own
            continue
        broken = torch.isnan(tensor) if key in constants else ~torch.isfinite(tensor)
        if not bool(broken.any()):
            continue
        raise BadInputError(f"The weights of {name} contain NaN or infinity.", code="non_finite_weights")
