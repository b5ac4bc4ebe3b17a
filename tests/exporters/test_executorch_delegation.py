"""What a backend took over: the share of the MACs, and no call for a handful of elements."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn
from torch.fx.traceback import NodeSource
from torch.nn import functional as F

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters._base import Delegation, ExportSpec
from mobilevit_tools.exporters.executorch import lower

CONTRACT = Contract("m", Preprocessing((32, 32)))


def delegation(module: nn.Module, path: Path, backend: str = "xnnpack") -> Delegation:
    lowering = lower(module.eval(), ExportSpec("executorch", backend=backend), CONTRACT, path / "model.pte")
    assert lowering.delegation is not None
    return lowering.delegation


class OwnFilter(nn.Module):
    """One convolution with stored weights, and one with weights that it computes, which XNNPACK does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.stored(x), x[:, :, :9, :1].reshape(3, 3, 3, 1))


def test_the_share_of_macs_inside(tmp_path: Path) -> None:
    found = delegation(OwnFilter(), tmp_path)
    inside, outside = 32 * 32 * 27 * 3, 30 * 32 * 9 * 3
    assert "aten.convolution.default" in found.outside
    assert found.macs_share == pytest.approx(inside / (inside + outside))
    assert delegation(OwnFilter(), tmp_path, "portable").macs_share == 0


def test_nothing_to_share(tmp_path: Path) -> None:
    assert delegation(nn.ReLU(), tmp_path).macs_share is None


class Picks(nn.Module):
    """A product, some arithmetic on what top-k leaves of it, and another product."""

    def __init__(self, picked: int) -> None:
        super().__init__()
        self.picked = picked
        self.first, self.second = nn.Linear(32, 256), nn.Linear(picked, 8)

    def forward(self, x: Tensor) -> Tensor:
        best = self.first(x).topk(self.picked, dim=-1).values
        small = (best * best + 1.0).exp()
        return self.second(small.topk(self.picked, dim=-1).values)


@pytest.mark.parametrize(("picked", "calls"), [(4, 2), (256, 3)])
def test_a_few_elements_are_not_worth_a_call(tmp_path: Path, picked: int, calls: int) -> None:
    found = delegation(Picks(picked), tmp_path)
    assert found.calls == calls
    assert ("aten.exp.default" in found.outside) == (calls == 2)
    assert found.macs_share == 1


def test_the_record_of_origins_is_copied_again_afterwards(tmp_path: Path) -> None:
    delegation(nn.Linear(32, 4), tmp_path)
    assert not hasattr(NodeSource, "__deepcopy__")
