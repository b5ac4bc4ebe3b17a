"""Weights on a grid by what they are multiplied with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mobilevit_tools.quantization.error_feedback import feed_back, grid_rounder, observe_inputs, on_grids
from mobilevit_tools.quantization.grids import Grid, LinearGrid, PaletteGrid, weighted_palette

GRIDS = [LinearGrid(4, 8), LinearGrid(3), PaletteGrid(4), PaletteGrid(3, 4)]


def _inputs(count: int = 6) -> list[Tensor]:
    """Return inputs (2, 3, 12, 12) whose channels and neighbours are alike, as those of photos are."""
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(count, 2, 1, 12, 12, generator=generator).cumsum(-1).cumsum(-2) / 12
    return list(base + 0.3 * torch.randn(count, 2, 3, 12, 12, generator=generator) + 0.5)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.depthwise(torch.relu(self.stem(x)))).mean((2, 3)))


def _net() -> _Net:
    torch.manual_seed(0)
    return _Net().eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_error_feedback_loses_less_than_rounding_to_the_nearest(grid: Grid) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 32, generator=generator)
    x = torch.randn(400, 8, generator=generator) @ torch.randn(8, 32, generator=generator)
    x += 0.3 * torch.randn(400, 32, generator=generator)
    moment = (x.T @ x / len(x)).unsqueeze(0)
    rounder = grid_rounder(weight, moment, grid)
    nearest, fed = rounder.whole(weight), feed_back(weight, moment, rounder)
    assert ((fed - weight) @ x.T).square().mean() < 0.5 * ((nearest - weight) @ x.T).square().mean()
    torch.testing.assert_close(rounder.whole(fed), fed)  # it is on the grid


@pytest.mark.parametrize("layer", ["stem", "depthwise", "head"])
def test_what_an_operator_reads_is_what_its_weight_is_multiplied_with(layer: str) -> None:
    net = _net()
    batch = _inputs(1)[0]
    seen = observe_inputs(net, [batch], lambda name, _: name == f"{layer}.weight")[f"{layer}.weight"]
    weight = net.get_parameter(f"{layer}.weight").reshape(len(seen.mean), -1, seen.mean.shape[1]).double()
    results: list[Tensor] = []
    hook = net.get_submodule(layer).register_forward_hook(lambda _module, _args, output: results.append(output))
    net(batch)
    hook.remove()
    bias = net.get_submodule(layer).bias
    flat = results[0].movedim(1, 0).flatten(1).double() - (0 if bias is None else bias.double().unsqueeze(1))
    energy = torch.einsum("gri,gij,grj->gr", weight, seen.second, weight).flatten()
    torch.testing.assert_close(energy, flat.square().mean(dim=1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((weight @ seen.mean.unsqueeze(2)).flatten(), flat.mean(dim=1), rtol=1e-4, atol=1e-5)
    assert seen.bias == (f"{layer}.bias" if bias is not None else None)


def test_biases_take_the_mean_of_what_is_lost() -> None:
    net, given = _net(), _inputs()
    before = torch.cat([net.stem(batch) for batch in given])
    rounders = on_grids(net, given, lambda name, _: LinearGrid(3) if name == "stem.weight" else None)
    after = torch.cat([net.stem(batch) for batch in given])
    assert set(rounders) == {"stem.weight"}
    assert (after - before).abs().mean() > 1e-2  # much was lost
    torch.testing.assert_close(after.mean((0, 2, 3)), before.mean((0, 2, 3)), rtol=0, atol=1e-5)


def test_a_shared_bias_stays() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.second.bias = self.first.bias

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    torch.manual_seed(0)
    net = Shared().eval().requires_grad_(requires_grad=False)
    bias = net.first.bias.clone()
    on_grids(net, _inputs(2), lambda _name, _weight: LinearGrid(2))
    torch.testing.assert_close(net.first.bias, bias)


@pytest.mark.parametrize("spread", [torch.ones, lambda n: torch.linspace(1, 5, n)])
def test_a_palette_finds_clusters(spread: Callable[[int], Tensor]) -> None:
    centres = torch.tensor([-3.0, -1.0, 0.5, 4.0])
    values = (centres.view(-1, 1) + 0.01 * torch.randn(4, 50, generator=torch.Generator().manual_seed(0))).flatten()
    found = weighted_palette(values, spread(200), 4)
    torch.testing.assert_close(found, centres, rtol=0, atol=0.02)


def test_a_palette_follows_what_matters() -> None:
    values = torch.linspace(-1, 1, 400)
    importance = torch.where(values > 0.5, 100.0, 1.0)
    found = weighted_palette(values, importance, 8)
    even = weighted_palette(values, torch.ones(400), 8)
    assert (found > 0.5).sum() > (even > 0.5).sum()
