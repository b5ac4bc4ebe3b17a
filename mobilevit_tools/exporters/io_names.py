"""Names and shapes of an artifact's inputs and outputs, the same on every target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mobilevit_tools.data.contract import Contract


def example_input(contract: Contract, batch: int) -> torch.Tensor:
    """Return a seeded example (batch, 3, H, W), float32."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, *contract.preprocessing.input_size, generator=generator)


def output_names(module: nn.Module, contract: Contract, example: torch.Tensor) -> list[str]:
    """Return the output names: the model's own, or else ``logits``, ``probabilities``, ``embedding``, ``stage1``...

    How many maps there are is only known from running ``module`` on ``example``.
    """
    import torch

    if contract.outputs:
        return list(contract.outputs)
    if contract.output != "features":
        return [contract.output]
    with torch.no_grad():
        maps = module(example)
    count = 1 if isinstance(maps, torch.Tensor) else len(maps)
    return [f"stage{index + 1}" for index in range(count)]
