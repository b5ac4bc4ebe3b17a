"""Settled weights: whatever initialisation leaves constant is drawn, and norms have the statistics of their inputs."""

from __future__ import annotations

import torch
from torch import nn

from mobilevit_tools.models.settled import settle


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((8, 1, 1), 1e-6))
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
        nn.init.normal_(self.body[3].weight, std=1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * self.body(x)


def settled(seed: int = 0) -> Scaled:
    torch.manual_seed(1)
    net = Scaled()
    settle(net, (32, 32), seed=seed)
    return net


def test_nothing_is_left_out_constant_or_without_statistics() -> None:
    torch.manual_seed(1)
    fresh, net = Scaled(), settled()
    assert net.gamma.min() > 0.05
    assert net.body[1].weight.std() > 0.01
    assert net.body[1].bias.std() > 0.01
    torch.testing.assert_close(net.body[0].weight, fresh.body[0].weight)  # what is drawn well stays
    assert net.body[3].weight.square().sum((1, 2, 3)).mean().sqrt() > 0.9
    assert not net.training
    assert not net.body[1].training
    assert net.body[1].momentum == fresh.body[1].momentum
    image = torch.randn(4, 3, 32, 32)
    normed = net.body[1](net.body[0](image)) - net.body[1].bias[:, None, None]
    assert 0.2 < normed.std() < 3
    assert fresh(image).abs().max() < 1e-5 < 0.01 < net(image).abs().max()


def test_the_seed_decides() -> None:
    one, same, other = settled(), settled(), settled(seed=1)
    for key, value in one.state_dict().items():
        torch.testing.assert_close(same.state_dict()[key], value, rtol=0, atol=0)
    assert (one.gamma != other.gamma).any()


def test_norms_know_noise_and_flat_colours_as_well_as_photos() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3, groups=3, bias=False), nn.BatchNorm2d(3, affine=False))
    with torch.no_grad():  # of what is smooth it leaves next to nothing, which the norm would enlarge
        net[0].weight.copy_(torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]).expand(3, 1, 3, 3))
    settle(net, (64, 64))
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    assert net(noise).std() < 3
    flat = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False))
    settle(flat, (64, 64))
    assert flat(torch.full((1, 3, 64, 64), 2.5)).abs().max() < 5
