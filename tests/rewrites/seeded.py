"""Small models with seeded weights, in float64, and what a rewrite makes of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor, nn

from mobilevit_tools.models.care import CARETransformer
from mobilevit_tools.rewrites.dataflow import observe
from mobilevit_tools.rewrites.functions import Replaced
from mobilevit_tools.rewrites.registry import REWRITES
from tests.golden.seeded_weights import seeded_state_dict

EXACT = 1e-10


def seeded(module: nn.Module) -> nn.Module:
    """Load seeded weights in float64: norms with statistics and affines of their own, layer scales around 0.3."""
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    module.double().load_state_dict({key: torch.from_numpy(value) for key, value in seeded_state_dict(shapes).items()})
    return module.eval().requires_grad_(requires_grad=False)


def small_care(*, features_only: bool = False) -> nn.Module:
    """A CARE of two blocks a stage, two heads in its attention, five classes."""
    ratios = ((2, 2), (2, 3), (2, 2), (3, 2))
    return seeded(CARETransformer((2, 2, 2, 2), (2, 4, 32, 64), ratios, num_classes=5, features_only=features_only))


def image(height: int = 96, width: int = 64, *, batch: int = 2) -> Tensor:
    """Return a seeded input (batch, 3, height, width), float64."""
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def rewritten(module: nn.Module, names: Sequence[str], example: Tensor) -> tuple[nn.Module, dict[str, int]]:
    """Apply ``names`` to a copy and return it with the places of each."""
    module, places, functions = copy.deepcopy(module), {}, {}
    flow = observe(module, example)
    for name in names:
        file = import_module(REWRITES[name].module)
        if hasattr(file, "REPLACEMENTS"):
            functions[name] = file.REPLACEMENTS
        else:
            module, places[name] = file.rewrite(module, flow)
    if functions:
        module = Replaced(module, functions)
        module(example)
        places |= module.places
    return module, places


def assert_same(module: nn.Module, names: Sequence[str], example: Tensor, places: int) -> nn.Module:
    """Assert that the first of ``names`` finds ``places`` places, and that the results agree to 1e-10."""
    expected = module(example)
    other, found = rewritten(module, names, example)
    assert found[names[0]] == places
    actual = other(example)
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max() / expected.abs().max()) < EXACT
    return other
