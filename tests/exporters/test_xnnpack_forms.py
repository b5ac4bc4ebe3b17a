"""What XNNPACK's lowering gets wrong by itself comes out right, with the deployment rewrites and without them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.executorch import lower
from mobilevit_tools.rewrites._base import apply
from mobilevit_tools.runtimes.registry import load_session
from tests.quantization.tiny import CONTRACT, SIDE

Branch = Callable[[Tensor], Tensor]
FLOOR_DB = 100.0
WEIGHTS = torch.linspace(-1, 1, SIDE)


class Branches(nn.Module):
    """Several functions, each of a convolution of its own, whose result XNNPACK keeps channels-last."""

    def __init__(self, **branches: Branch) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stems = nn.ModuleList(nn.Conv2d(3, 8, 3, padding=1) for _ in branches)
        self.layers = nn.ModuleList(branch for branch in branches.values() if isinstance(branch, nn.Module))
        self.branches = [*branches.values()]

    def forward(self, x: Tensor) -> list[Tensor]:
        return [branch(stem(x)) for stem, branch in zip(self.stems, self.branches, strict=True)]


def snr(expected: Tensor, got: Tensor) -> float:
    noise = (expected.double() - got.double()).square().sum()
    return float(10 * torch.log10(expected.double().square().sum() / noise)) if noise else float("inf")


def decibels(folder: Path, module: Branches, image: Tensor, *, backend: str = "xnnpack") -> list[float]:
    """Return the SNR of each branch against float64."""
    path = folder / "model.pte"
    if not path.exists():
        lower(module, ExportSpec("executorch", backend=backend), CONTRACT, path)
    expected = copy.deepcopy(module).double()
    expected.branches = [each.double() if isinstance(each, nn.Module) else each for each in expected.branches]
    with load_session(path) as session:
        got = session.run(image.numpy())
    return [snr(left, torch.from_numpy(right)) for left, right in zip(expected(image.double()), got, strict=True)]


def photo() -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


LAYOUTS = Branches(
    map=lambda x: x.softmax(dim=-1),
    channels=lambda x: x.softmax(dim=1),
    rows=lambda x: F.softmax(x, dim=2),
    pooled=lambda x: F.avg_pool2d(x, 2).softmax(dim=3),
    resized=lambda x: F.interpolate(x, size=(9, 11), mode="bilinear").softmax(dim=-1),
    turned=lambda x: x.permute(0, 2, 3, 1).softmax(dim=-1),
    split=lambda x: x.split([1, 7], dim=1)[0].softmax(dim=-1) * x.split([1, 7], dim=1)[1],
    attended=lambda x: F.scaled_dot_product_attention(x, x, x),
)


@pytest.mark.parametrize("rewritten", [False, True], ids=["plain", "rewritten"])
@torch.no_grad()
def test_a_softmax_of_a_map_runs_over_its_own_axis(tmp_path: Path, rewritten: bool) -> None:
    module: nn.Module = LAYOUTS.eval()
    expected = copy.deepcopy(module).double()(photo().double())
    if rewritten:
        module = apply(module, photo(), deployment="executorch-xnnpack").module
    lower(module, ExportSpec("executorch", backend="xnnpack"), CONTRACT, tmp_path / "model.pte")
    with load_session(tmp_path / "model.pte") as session:
        got = session.run(photo().numpy())
    found = [snr(left, torch.from_numpy(right)) for left, right in zip(expected, got, strict=True)]
    assert min(found) > FLOOR_DB, found


@torch.no_grad()
def test_arguments_that_xnnpack_drops_and_ranks_that_it_lacks(tmp_path: Path) -> None:
    module = Branches(
        gelu=nn.GELU(approximate="tanh"),
        tokens=nn.Sequential(nn.Flatten(2), nn.PReLU(8, init=0.3)),
        vector=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.PReLU()),
        factor=lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
        factors=lambda x: F.interpolate(x, scale_factor=(0.7, 1.2), mode="bilinear"),
        exact=lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
        divisor=lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False, divisor_override=4),
        windows=lambda x: F.adaptive_max_pool2d(x, (5, 4)),
        whole=nn.AdaptiveMaxPool2d(1),
        line=lambda x: F.adaptive_max_pool1d(x.flatten(2), 5),
        largest=lambda x: x.max(dim=1, keepdim=True).values * x,
        dropped=lambda x: x.max(dim=-1).values,
        seven=lambda x: 2 * x.reshape(1, 2, 4, 4, 4, 4, 4).permute(0, 2, 4, 3, 5, 1, 6),
        weighed=lambda x: F.linear(x, WEIGHTS.to(x)),
        computed=lambda x: F.linear(x, x[0, 0, 0], x.mean()),
        copied=lambda x: 2 * x.contiguous(memory_format=torch.channels_last).relu(),
    ).eval()
    found = decibels(tmp_path, module, photo())
    assert min(found) > FLOOR_DB, found


class Block(nn.Module):
    """A stranger's block: norms of either kind, attention over windows that are shifted, with a table of biases."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.taken, self.layer = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.randn(9, 2))
        self.register_buffer("places", torch.randint(0, 9, (16, 16)))
        self.batch = nn.BatchNorm1d(8)
        self.group = nn.GroupNorm(1, 8)

    def forward(self, x: Tensor) -> Tensor:
        windows = torch.roll(self.norm(x.permute(0, 2, 3, 1)), (-2, 1), (1, 2))
        side = windows.shape[1] // 4
        tokens = windows.reshape(-1, side, 4, side, 4, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 8)
        q, k, v = self.taken(tokens).reshape(-1, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
        bias = self.table[self.places.view(-1)].view(16, 16, 2).permute(2, 0, 1).unsqueeze(0)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).reshape(-1, 8)
        y = self.batch(self.layer(seen)).reshape(-1, side, side, 4, 4, 8).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)
        y = self.group(y + F.hardsigmoid(x.mean((2, 3), keepdim=True)).expand(x.shape))
        sizes = torch.linalg.vector_norm(y, 2, (1, 2), keepdim=True)
        y = torch.addcmul(torch.addcdiv(y, y, sizes + 1), y, sizes)
        y = (
            F.softplus(y)
            + F.mish(y) * F.logsigmoid(y)
            + F.softshrink(y)
            - F.hardshrink(y) * y.amax((2, 3), keepdim=True)
        )
        y = F.fold(F.unfold(y, 2, stride=2), y.shape[2:], 2, stride=2) + F.unfold(y, 3, padding=1)[:, 4::9].reshape(
            y.shape
        )
        y = y - y.amin(1, keepdim=True) + y.flatten(2).max(1).values.reshape(1, 1, *y.shape[2:])
        y = torch.lerp(F.selu(y), F.celu(1 - y**3).repeat(1, 2, 1, 1)[:, :8], 0.3)
        y = F.elu(F.gelu(y / (sizes + 1), approximate="tanh"))[..., ::2, 1::2]
        y = F.interpolate(y, scale_factor=(2, 3)) * F.interpolate(y, size=(16, 24), mode="nearest-exact")
        y = F.interpolate(y, size=(11, 27)) + F.avg_pool2d(y, (2, 1), ceil_mode=True).mean()
        y = F.avg_pool2d(y, 3, 2, 1) + F.avg_pool2d(y, 3, 2, 1, ceil_mode=True, count_include_pad=False)
        y = y + sum(F.adaptive_avg_pool2d(y, size).mean() for size in (1, (1, 3), (4, 5)))
        y = y * F.adaptive_avg_pool1d(y.flatten(2), 1)[..., None]
        return F.avg_pool2d(y, 3, 2, ceil_mode=True).mean((1, 2))


@torch.no_grad()
def test_what_strangers_write_is_taken_over_as_a_whole(tmp_path: Path) -> None:
    module = Branches(block=Block()).eval()
    expected = copy.deepcopy(module).double()
    expected.branches = [each.double() for each in expected.branches]
    path = tmp_path / "model.pte"
    delegation = lower(module, ExportSpec("executorch", backend="xnnpack"), CONTRACT, path).delegation
    assert delegation is not None
    assert (delegation.calls, dict(delegation.outside)) == (1, {})
    with load_session(path) as session:
        got = torch.from_numpy(session.run(photo().numpy())[0])
    assert snr(expected(photo().double())[0], got) > FLOOR_DB


@pytest.mark.parametrize("kind", ["truth", "infinite", "given"])
@torch.no_grad()
def test_a_token_that_sees_nothing_gets_zeros(tmp_path: Path, kind: str) -> None:
    seen = torch.ones(SIDE, SIDE, dtype=torch.bool).tril(-1)  # the first row sees nothing
    masks: dict[str, Callable[[Tensor], Tensor]] = {
        "truth": lambda _: seen,
        "infinite": lambda x: torch.zeros(seen.shape, dtype=x.dtype).masked_fill(~seen, -torch.inf),
        "given": lambda x: seen & (x[:, :1] < 100),
    }
    module = Branches(
        masked=lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=masks[kind](x)),
        plain=lambda x: F.scaled_dot_product_attention(x, x, x),
    ).eval()
    assert min(decibels(tmp_path, module, photo())) > FLOOR_DB


@torch.no_grad()
def test_weights_that_are_channels_last_lower(tmp_path: Path) -> None:
    module = Branches(plain=lambda x: x.relu()).eval().to(memory_format=torch.channels_last)
    assert min(decibels(tmp_path, module, photo())) > FLOOR_DB
    assert not module.stems[0].weight.is_contiguous()


@pytest.mark.parametrize("backend", ["xnnpack", "portable"])
@torch.no_grad()
def test_norms_are_as_right_on_flat_images(tmp_path: Path, backend: str) -> None:
    class Apart(nn.Module):
        """Three maps normalised together, without running statistics."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(8, track_running_stats=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(torch.cat([x, 2 * x, x + 1]))

    module = Branches(
        instance=nn.InstanceNorm2d(8, affine=True),
        line=nn.Sequential(nn.Flatten(2), nn.InstanceNorm1d(8)),
        group=nn.GroupNorm(2, 8),
        batch=nn.BatchNorm2d(8, track_running_stats=False),
        batches=Apart(),
        volume=nn.LayerNorm((8, SIDE, SIDE)),
    ).eval()
    for stem in module.stems:
        stem.bias += 3  # far from zero
    found = decibels(tmp_path, module, photo(), backend=backend)
    assert min(found) > FLOOR_DB, found
    flat = decibels(tmp_path, module, torch.full((1, 3, SIDE, SIDE), 0.7), backend=backend)
    assert min(flat) > FLOOR_DB - 10, flat


@torch.no_grad()
def test_the_mean_of_a_large_flat_map_keeps_what_float32_holds(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    side = 112
    contract = dataclasses.replace(CONTRACT, preprocessing=Preprocessing(input_size=(side, side)))
    path, flat = tmp_path / "model.pte", torch.full((1, 3, side, side), 0.7)
    lower(Mean(), ExportSpec("executorch", backend="xnnpack"), contract, path)
    with load_session(path) as session:
        got = torch.from_numpy(session.run(flat.numpy())[0])
    assert snr(flat.mean((2, 3), dtype=torch.float64), got) > FLOOR_DB  # 85 dB where all is added up in a row


@torch.no_grad()
def test_layer_norm_of_tokens_that_lie_close_together_far_from_zero(tmp_path: Path) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.norm = nn.Linear(3, 192), nn.LayerNorm(192)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.layer(x.flatten(2).transpose(1, 2)) + 10)

    module = Tokens().eval()
    expected = copy.deepcopy(module).double()(photo().double())
    for name, lowered in {
        "plain": module,
        "rewritten": apply(module, photo(), deployment="executorch-xnnpack").module,
    }.items():
        path = tmp_path / f"{name}.pte"
        lower(lowered, ExportSpec("executorch", backend="xnnpack"), CONTRACT, path)
        with load_session(path) as session:
            # As written 83 dB, as products with a single mean 108 dB.
            assert snr(expected, torch.from_numpy(session.run(photo().numpy())[0])) > 115, name
