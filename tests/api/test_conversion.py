"""The same conversion in float32, before a reduced precision is judged, and the operator that it blames."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

import mobilevit_tools
from mobilevit_tools.api import conversion
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.errors import GateError
from mobilevit_tools.exporters import onnx as onnx_exporter

NET = """
    import torch
    from torch import nn
    from torch.nn import functional as F


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.SiLU(inplace=True))
            self.inner = Inner()
            self.head = nn.Linear(8, 5)

        def forward(self, x):
            x = self.inner(self.conv(x))
            return self.head(x.mean((2, 3)))


    class Inner(nn.Module):
        def forward(self, x):
            return F.gelu(x) * 2 + x


    def build(seed: int = 0):
        torch.manual_seed(seed)
        return Net(), {"input_size": (32, 32)}
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(textwrap.dedent(NET))
    return f"{tmp_path / 'net.py'}:build"


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that the ONNX exporter is asked for, in order."""
    asked: list[str] = []
    lower = onnx_exporter.lower

    def watching(module: Any, spec: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(spec.precision)
        return lower(module, spec, *args, **kwargs)

    monkeypatch.setattr(onnx_exporter, "lower", watching)
    monkeypatch.setattr(conversion, "_CHECKED", {})
    return asked


@pytest.fixture
def tanh_for_exact(monkeypatch: pytest.MonkeyPatch, lowered: list[str]) -> None:
    """A converter that takes tanh GELU for the exact one."""
    import torch
    from torch.export import export as trace

    lower = onnx_exporter.lower

    def wrong(module: Any, spec: Any, contract: Any, path: Path, *args: Any, **kwargs: Any) -> Any:
        graph = trace(module, (torch.zeros(1, 3, 32, 32),), strict=False).module(check_guards=False)
        for node in graph.graph.nodes:
            if node.target is torch.ops.aten.gelu.default:
                node.kwargs = {"approximate": "tanh"}
        plain = torch.fx.GraphModule(graph, graph.graph)  # an exported program's own module has no eval()
        return lower(plain, spec, contract, path, *args, **kwargs)

    monkeypatch.setattr(onnx_exporter, "lower", wrong)


def export(model: str, output: Path, **asked: Any) -> mobilevit_tools.ExportResult:
    return mobilevit_tools.export(model, targets="onnx", output=output, random_weights=True, **asked)


@pytest.mark.usefixtures("tanh_for_exact")
def test_half_precision_hides_no_wrong_conversion(net: str, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="the conversion is wrong, not the precision: in float32, ") as caught:
        export(net, tmp_path / "out", precision="fp16", keep_failed=True)
    (artifact,) = caught.value.result.artifacts
    check = artifact.parity.float32
    assert check.status == "failed"
    assert check.margins.snr_db < 0
    assert "float32" in artifact.seconds
    assert (check.drift.operator, check.drift.module, check.drift.source) == (
        "aten.gelu",
        "inner",
        "net.py, line 21: return F.gelu(x) * 2 + x",
    )
    assert check.drift.inputs_snr_db > 80 > check.drift.snr_db
    assert read_manifest(artifact.manifest).parity.float32 == check


@pytest.mark.usefixtures("tanh_for_exact")
def test_a_failed_float32_gate_names_the_operator_that_drifts(net: str, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"the first operator that drifts is aten.gelu in inner \(net.py, line 21"):
        export(net, tmp_path / "out")


def test_a_conversion_is_checked_once_and_then_known(net: str, tmp_path: Path, lowered: list[str]) -> None:
    first = export(net, tmp_path / "1", precision="fp16").artifacts[0].parity
    assert (first.status, first.float32 and first.float32.status) == ("passed", "passed")
    assert lowered == ["fp32", "fp16"]
    assert export(net, tmp_path / "2", precision="fp16").artifacts[0].parity.float32 == first.float32
    assert lowered == ["fp32", "fp16", "fp16"]
    export(net, tmp_path / "3", precision="fp16", options={"seed": 1})
    assert lowered[3:] == ["fp32", "fp16"]
    export(net, tmp_path / "4")
    assert lowered[5:] == ["fp32"]


def test_margins_stand_in_the_manifest(net: str, tmp_path: Path) -> None:
    parity = read_manifest(export(net, tmp_path / "out").artifacts[0].manifest).parity
    assert parity.snr_db is not None
    assert parity.margins.snr_db == pytest.approx(parity.snr_db - 80)
    assert parity.margins.top1_agreement == 0
