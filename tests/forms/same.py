"""Whether a form computes what its operator computes, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mobilevit_tools.forms._base import Forms, write_forms


class Call(nn.Module):
    """A function of the input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def operators(forms: Forms, function: Callable[[Tensor], Any], example: Tensor) -> list[str]:
    """Write ``function`` in ``forms``, each of which is proved on ``example``; return the operators that it has then.

    The program is compared as a whole, too.
    """
    module = Call(function).eval()
    program = torch.export.export(module, (example,), strict=False)
    with torch.no_grad():
        write_forms(program, forms, (example,))
        torch.testing.assert_close(program.module()(example), module(example), rtol=1e-10, atol=1e-12)
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def example(*shape: int) -> Tensor:
    """Return seeded float64 values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
