"""The stage table adds up to the whole, for ours and for anyone's module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilevit_tools.analysis.macs import count_macs
from mobilevit_tools.analysis.stages import Stage, stage_table
from mobilevit_tools.models.factory import create_model


def test_care_is_told_by_stem_stages_and_heads() -> None:
    model = create_model("care_s0", random_weights=True)
    count = count_macs(model, (1, 3, 64, 96))
    table = stage_table(model, (1, 3, 64, 96), count)
    assert {row.name: row.output_shape for row in table} == {
        "stem": (1, 32, 16, 24),
        "stages.0": (1, 32, 16, 24),
        "stages.1": (1, 64, 8, 12),
        "stages.2": (1, 128, 4, 6),
        "stages.3": (1, 1024, 2, 3),
        "head": (1, 1000),
        "dist_head": (1, 1000),
    }
    assert sum(row.macs for row in table) == count.total
    assert sum(row.params for row in table) == 7_340_000


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fc(x), x


class Foreign(nn.Module):
    """A parameter and a product of its own, a Sequential of equal blocks, tied weights and an unused list entry."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(3, 4))
        self.patch = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU())
        self.blocks = nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4)))
        self.heads = nn.ModuleList([Block(4), Block(4)])
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.patch[0].weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patch(x + self.position))
        return self.tied(self.heads[0](x)[0]) @ self.position.T


def test_any_module_is_told_in_full() -> None:
    product, layer = 2 * 3 * 3 * 4, 2 * 3 * 4 * 4
    assert stage_table(Foreign(), (2, 3, 4)) == (
        Stage("patch", 16, layer, (2, 3, 4)),
        Stage("blocks.0", 20, layer, (2, 3, 4)),
        Stage("blocks.1", 20, layer, (2, 3, 4)),
        Stage("heads.0", 16, layer, (2, 3, 4)),
        Stage("heads.1", 16, 0, None),
        Stage("tied", 0, layer, (2, 3, 4)),
        Stage("(other)", 12, product, None),
    )


def test_a_single_layer_has_one_row_of_its_own() -> None:
    assert stage_table(nn.Linear(4, 5), (1, 4)) == (Stage("(other)", 25, 20, None),)
