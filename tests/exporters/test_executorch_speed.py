"""What is skipped while lowering has no effect: the artifact is the same byte for byte, and it is much less work."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from executorch.exir.pass_base import ExportPass
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.nn import functional as F

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters import executorch, executorch_speed
from mobilevit_tools.exporters._base import ExportSpec
from tests.tiers import thorough

CONTRACT = Contract(model="net", preprocessing=Preprocessing(input_size=(16, 16)), output="logits")


class Net(nn.Module):
    """Every kind of operator for which a pass is skipped, and those for which it must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.GELU())
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.interpolate(self.stem(x), size=(6, 6), mode="bilinear")
        y = F.max_pool2d(torch.cat([y, y, y, y, y, y], dim=2), 2)
        tokens = self.norm(y.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        q, k = tokens.split(4, dim=-1)
        tokens = tokens + F.scaled_dot_product_attention(q, k, q, scale=0.5).repeat(1, 1, 2)
        steps = torch.arange(8) + 1
        return self.head((tokens / steps).mean(1) + 2)


@pytest.fixture(scope="module", params=[thorough("xnnpack"), "portable"])
def lowered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, tuple[bytes, Counter]]:
    """Lower the net as ExecuTorch does it (False) and with work skipped (True); return bytes and what was called."""
    torch.manual_seed(0)
    net, found = Net().eval(), {}
    for skipping in (False, True):
        path = tmp_path_factory.mktemp("speed") / "model.pte"
        calls: Counter[str] = Counter()
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in (
                (ExportPass, "call"),
                (ExportedProgram, "run_decompositions"),
                (GraphModule, "recompile"),
            ):
                patch.setattr(owner, name, _counting(getattr(owner, name), name, calls))
            if not skipping:
                patch.setattr(executorch_speed, "_WRITTEN_FOR", "0.0.")
            executorch.lower(net, ExportSpec("executorch", request.param), CONTRACT, path)
        found[skipping] = path.read_bytes(), calls
    return found


def _counting(function, name, calls):
    def counted(*args, **kwargs):
        calls[name] += 1
        return function(*args, **kwargs)

    return counted


def test_the_artifact_is_the_same(lowered: dict[bool, tuple[bytes, Counter]]) -> None:
    assert lowered[True][0] == lowered[False][0]


def test_little_of_the_work_is_left(lowered: dict[bool, tuple[bytes, Counter]]) -> None:
    (_, plain), (_, less) = lowered[False], lowered[True]
    assert less["call"] <= 0.7 * plain["call"]
    assert less["run_decompositions"] <= plain["run_decompositions"]
    assert less["recompile"] <= 0.5 * plain["recompile"]


def test_everything_is_as_before_afterwards() -> None:
    before = ExportPass.call, ExportedProgram.run_decompositions, GraphModule.recompile, GraphModule.code
    with executorch_speed.without_repetition():
        assert ExportPass.call is not before[0]
        module = torch.fx.symbolic_trace(nn.ReLU())
        assert module(torch.tensor(-1.0)) == 0
        assert "relu" in module.code
        late = torch.fx.symbolic_trace(nn.ReLU())
    assert (ExportPass.call, ExportedProgram.run_decompositions, GraphModule.recompile, GraphModule.code) == before
    assert late(torch.tensor(-1.0)) == 0
    assert "relu" in late._code


def test_nothing_is_skipped_with_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ExportPass.call
    monkeypatch.setattr(executorch_speed, "version", lambda _: "1.6.0")
    with executorch_speed.without_repetition():
        assert ExportPass.call is before


def test_a_changed_program_is_interpreted_again() -> None:
    with executorch_speed.without_repetition():
        exported = torch.export.export(nn.ReLU(), (torch.zeros(2, 3),))
        once = ExportPass()(exported.graph_module).graph_module
        assert ExportPass()(once).graph_module is once
        (relu,) = [node for node in once.graph.nodes if node.op == "call_function"]
        relu.target = torch.ops.aten.neg.default
        assert ExportPass()(once).graph_module is not once
