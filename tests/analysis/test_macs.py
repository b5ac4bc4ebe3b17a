"""MACs against closed forms, and the published and stored figures of every registered model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.analysis.macs import count_macs
from mobilevit_tools.api.models import ListedModel, models
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.care import LinearAttentionMixer
from mobilevit_tools.models.factory import create_model
from tests.cards import CARDS, stands_for_others

LISTED = [
    pytest.param(each, id=each.name, marks=() if stands_for_others(each.name) else pytest.mark.slow)
    for each in models().models
]


@pytest.mark.parametrize("listed", LISTED)
def test_a_card_states_its_models_macs_and_parameters(listed: ListedModel) -> None:
    model = create_model(listed.name, random_weights=listed.weights is None)
    count = count_macs(model, (1, 3, *listed.input_size))
    assert count.total == listed.macs
    assert sum(parameter.numel() for parameter in model.parameters()) == listed.params
    assert not count.mismatches
    assert not count.uncounted


@pytest.mark.parametrize(("name", "millions"), [("care_s0", 717.8), ("care_s1", 1028.6), ("care_s2", 1923.1)])
def test_care_has_the_macs_of_the_authors_model(name: str, millions: float) -> None:
    macs = next(card.macs for card in CARDS if card.name == name)
    assert round(macs / 1e6, 1) == millions


def test_linear_attention_products_are_counted_in_the_module_that_multiplies() -> None:
    group, head_dim, tokens = 32, 16, 6 * 4
    count = count_macs(LinearAttentionMixer(group, head_dim), (1, 3 * group, 6, 4))
    # k^T v, q (k^T v), and q times the mean key, for every head
    assert count.by_module[""] == 2 * tokens * group * head_dim + tokens * group


class Layers(nn.Module):
    """Convolutions of every form, one linear used twice and one under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(8, 12, (3, 5), stride=2, padding=1, groups=4)
        self.transposed = nn.ConvTranspose2d(12, 6, 3, stride=2, groups=2)
        self.dilated = nn.Conv1d(6, 5, 3, dilation=2)
        self.linear = nn.Linear(5, 5)
        self.same_linear = self.linear
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        x = self.transposed(F.gelu(self.grouped(x)))
        x = self.dilated(x.flatten(2)).transpose(1, 2)
        return self.dropout(self.same_linear(self.linear(self.linear(x))))


def test_convolutions_and_linears_against_closed_forms() -> None:
    count = count_macs(Layers(), (2, 8, 16, 16))
    map_in = 8 * 7  # what the strided 3x5 window leaves of 16x16
    map_out = (2 * 7 + 3) * (2 * 6 + 3)
    tokens = map_out - 4
    assert dict(count.by_module) == {
        "grouped": 2 * 12 * map_in * (8 // 4) * 15,
        "transposed": 2 * 12 * map_in * (6 // 2) * 9,
        "dilated": 2 * 5 * tokens * 6 * 3,
        "linear": 3 * 2 * tokens * 25,
    }
    assert count.total == sum(count.by_module.values())
    assert not count.mismatches


class Products(nn.Module):
    """Matrix products of one kind at a time."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:  # (2, 3, 4, 5)
        if self.kind == "matmul":
            return x @ x.transpose(-1, -2)
        if self.kind == "broadcast matmul":
            return x @ x[0, 0].T
        if self.kind == "einsum":
            return torch.einsum("bhnc,bhmc->bhnm", x, x)
        if self.kind == "baddbmm":
            rows = x.flatten(0, 1)
            return torch.baddbmm(torch.ones(1), rows, rows.transpose(1, 2))
        if self.kind == "addbmm":
            rows = x.flatten(0, 1)
            return torch.addbmm(torch.ones(1), rows, rows.transpose(1, 2))
        if self.kind == "vector":
            return x[0, 0] @ x[0, 0, 0]
        if self.kind == "dot":
            return x[0, 0, 0] @ x[0, 0, 1]
        if self.kind == "addmv":
            return torch.addmv(torch.ones(1), x[0, 0], x[0, 0, 0])
        if self.kind == "fused attention":
            return F.scaled_dot_product_attention(x, x[:, :, :3], x[:, :, :3, :4])
        if self.kind == "masked attention":
            return F.scaled_dot_product_attention(x, x, x, attn_mask=torch.zeros(4, 4))
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


@pytest.mark.parametrize(
    ("kind", "macs"),
    [
        ("matmul", 6 * 4 * 4 * 5),
        ("broadcast matmul", 6 * 4 * 4 * 5),
        ("einsum", 6 * 4 * 4 * 5),
        ("baddbmm", 6 * 4 * 4 * 5),
        ("addbmm", 6 * 4 * 4 * 5),
        ("vector", 4 * 5),
        ("dot", 5),
        ("addmv", 4 * 5),
        ("fused attention", 6 * 4 * 3 * (5 + 4)),
        ("masked attention", 6 * 4 * 4 * (5 + 5)),
        ("causal attention", 6 * 4 * 4 * (5 + 5)),
    ],
)
def test_matrix_products_against_closed_forms(kind: str, macs: int) -> None:
    count = count_macs(Products(kind), (2, 3, 4, 5))
    assert (count.total, dict(count.uncounted)) == (macs, {})


@pytest.mark.parametrize("requires_grad", [True, False])
def test_transformer_layers_hide_nothing_behind_their_fast_path(requires_grad: bool) -> None:
    width, hidden, tokens = 16, 40, 7
    layer = nn.TransformerEncoderLayer(width, 4, hidden, batch_first=True).eval().requires_grad_(requires_grad)
    count = count_macs(layer, (1, tokens, width))
    projections, attention = 4 * tokens * width**2, 2 * tokens**2 * width
    assert count.under("self_attn") == projections + attention
    assert count.total == projections + attention + 2 * tokens * width * hidden
    assert not count.mismatches


class Spectral(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).real + torch.cdist(x, x).sum()


def test_operators_that_nobody_counts_are_listed() -> None:
    count = count_macs(Spectral(), (4, 6))
    assert count.total == 0
    assert dict(count.uncounted) == {"aten._fft_r2c.default": 1, "aten._cdist_forward.default": 1}


class Cheating(nn.Linear):
    """A layer that does less than it declares, which the graph sees and the layer does not."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x[..., :2], self.weight[:, :2], self.bias)


def test_a_layer_that_disagrees_with_the_graph_is_reported() -> None:
    count = count_macs(nn.Sequential(Cheating(8, 3), nn.Linear(3, 3)), (5, 8))
    assert dict(count.mismatches) == {"0": (5 * 3 * 2, 5 * 3 * 8)}


def test_the_module_is_left_as_it_was() -> None:
    model = Layers().train()
    model.grouped.eval()
    count_macs(model, (2, 8, 16, 16))
    assert model.training
    assert model.dropout.training
    assert not model.grouped.training
    assert not any(child._forward_hooks for child in model.modules())


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else self.layer(self.layer(x))


def test_what_no_graph_can_hold_is_counted_as_it_runs() -> None:
    assert dict(count_macs(Branching(), (4, 4)).by_module) == {"layer": 2 * 4 * 4 * 4}


def test_a_module_that_does_not_run_is_refused_in_one_sentence() -> None:
    with pytest.raises(BadInputError, match=r"Branching cannot be run on an input of 4x5: .*line 1") as caught:
        count_macs(Branching(), (4, 5))
    assert "\n" not in caught.value.message
