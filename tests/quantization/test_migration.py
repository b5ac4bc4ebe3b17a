from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mobilevit_tools.quantization import migration
from mobilevit_tools.quantization.migration import ScaledLinear, migrate_scales
from tests.quantization.tiny import calibration, tiny


class Uneven(nn.Module):
    """A depthwise convolution with a hundredfold difference between channels, one that reads it, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.gelu(self.stem(x))
        x = self.pointwise(self.depthwise(x))
        logits: Tensor = self.head(self.norm(x.mean(dim=(2, 3))))
        return logits


def _uneven() -> Uneven:
    torch.manual_seed(0)
    net = Uneven().eval().requires_grad_(requires_grad=False)
    spread = torch.logspace(-2, 0, 8)
    for values in (net.depthwise.weight, net.depthwise.bias, net.norm.weight):
        assert values is not None
        values.mul_(spread.view(-1, *[1] * (values.dim() - 1)))
    return net


def _spread(values: Tensor) -> float:
    return float(values.max() / values.min())


def test_channels_become_alike_and_the_model_stays_what_it_is() -> None:
    net, photos = _uneven(), calibration(4)
    before = copy.deepcopy(net)
    applied = migrate_scales(net, photos, batch=1)
    assert applied is not None
    assert (applied.name, applied.places, applied.saved_params) == ("scale_migration", 2, 0)
    (inputs,) = (torch.from_numpy(batch) for batch in photos.batches(4))
    assert torch.equal(before(inputs), net(inputs))  # powers of two round nothing

    def reach(each: Uneven) -> Tensor:
        result: Tensor = each.depthwise(nn.functional.gelu(each.stem(inputs))).abs().amax(dim=(0, 2, 3))
        return result

    assert _spread(reach(net)) < _spread(reach(before)) / 4


def test_a_head_s_vector_is_evened_out() -> None:
    net = _uneven()
    assert migrate_scales(net, calibration(4), batch=2) is not None
    assert isinstance(net.head, ScaledLinear)
    assert _spread(net.head.factors) > 4
    assert "head.weight" in dict(net.named_parameters())


def test_linear_layers_over_tokens_are_left_alone() -> None:
    net = tiny()
    applied = migrate_scales(net, calibration(4), batch=1)
    assert applied is not None
    assert applied.places == 1  # others than the head read what more than one reads, or an activation's result
    assert type(net.qkv) is nn.Linear
    assert type(net.head) is ScaledLinear


def test_nothing_is_said_where_there_is_nothing_to_move() -> None:
    assert migrate_scales(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU()).eval(), calibration(2), batch=1) is None


def test_a_place_that_computes_something_else_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "by_input", lambda scale, _: torch.ones_like(scale).view(1, -1, 1, 1))
    net, (inputs,) = _uneven(), map(torch.from_numpy, calibration(4).batches(4))
    before = copy.deepcopy(net)
    applied = migrate_scales(net, calibration(2), batch=1)
    assert applied is not None
    assert applied.places == 1
    assert type(net.head) is ScaledLinear
    assert torch.equal(before(inputs), net(inputs))


@torch.jit.script
def _scripted(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class Pair(nn.Module):
    """Two convolutions; what else reads the first one's result, or its weight, is up to ``kind``."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(8, 8, 1)
        with torch.no_grad():
            self.first.weight *= torch.logspace(-2, 0, 8).view(-1, 1, 1, 1)
        if kind == "tied":
            self.third.weight = self.second.weight
        if kind == "hooked":
            self.first.register_forward_hook(lambda _layer, _given, result: result + 1)
        if kind == "normed":
            self.first = nn.utils.parametrizations.weight_norm(self.first)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.first(x if self.kind != "unbatched" else x[0])
        y = self.second(x)
        if self.kind == "scripted":  # of which nothing shows what it reads
            y = y + _scripted(x)
        if self.kind == "read":
            y = y + self.first.weight.sum()
        if self.kind == "twice":
            y = y + x
        if self.kind == "called again":
            y = self.second(nn.functional.relu(y))
        if self.kind == "tied":
            y = self.third(nn.functional.relu(y))
        return (y, y > 0, y.argmax(1), y.new_full((1,), -torch.inf)) if self.kind == "decisions" else (y,)


@pytest.mark.parametrize("kind", ["scripted", "read", "twice", "called again", "tied", "hooked", "normed"])
def test_what_others_read_is_left_alone(kind: str) -> None:
    torch.manual_seed(0)
    net = Pair(kind).eval()
    before = copy.deepcopy(net.state_dict())
    assert migrate_scales(net, calibration(2), batch=1) is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("kind", ["plain", "decisions", "unbatched"])
def test_whatever_is_returned_is_compared(kind: str) -> None:
    torch.manual_seed(0)
    net, (inputs,) = Pair(kind).eval(), map(torch.from_numpy, calibration(1).batches(1))
    before = net(inputs)
    applied = migrate_scales(net, calibration(2), batch=1)
    assert applied is not None
    assert applied.places == 1
    assert all(torch.equal(want, got) for want, got in zip(before, net(inputs), strict=True))
