"""What ExecuTorch programs need beyond the package itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.errors import MissingDependencyError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.executorch import _separate_packed, lower
from tests.quantization.tiny import CONTRACT, tiny


@pytest.mark.parametrize(
    ("backend", "module"),
    [
        ("xnnpack", "mobilevit_tools.exporters.xnnpack"),
        ("coreml", "executorch.backends.apple.coreml.partition"),
        ("vulkan", "executorch.backends.vulkan.partitioner.vulkan_partitioner"),
    ],
)
def test_a_backend_that_does_not_import_is_a_missing_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"The {backend} backend of ExecuTorch cannot be loaded here"):
        lower(tiny(), ExportSpec("executorch", backend=backend), CONTRACT, tmp_path / "model.pte")
    assert list(tmp_path.iterdir()) == []


class Shared(nn.Module):
    """One constant, read by an operator that packs it and by another that does not, or not that way."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.matrix = nn.Parameter(torch.randn(8, 8))
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1))
        self.vector = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.stem(x)
        tokens = maps.mean(dim=(2, 3))
        if self.kind == "product":
            return tokens @ self.matrix + (tokens.reshape(-1, 1, 8) * self.matrix).sum(dim=2)
        if self.kind == "bias":
            return F.linear(tokens, self.matrix, self.vector) + tokens * self.vector
        return (F.conv2d(maps, self.kernel) + F.conv_transpose2d(maps, self.kernel)).mean(dim=(2, 3))


RUN = """
import sys
from pathlib import Path

import numpy as np

from mobilevit_tools.runtimes.registry import open_session

with open_session(Path(sys.argv[1])) as session:
    np.save(sys.argv[2], session.run(np.load(sys.argv[3]))[0])
"""


@pytest.mark.parametrize("kind", ["product", "bias", "kernel"])
def test_a_constant_that_is_packed_can_be_read_by_others(tmp_path: Path, kind: str) -> None:
    module = Shared(kind).eval().requires_grad_(requires_grad=False)
    image = torch.randn(1, 3, 16, 16)
    path, given, got = tmp_path / "model.pte", tmp_path / "image.npy", tmp_path / "result.npy"
    lower(module, ExportSpec("executorch", backend="xnnpack"), CONTRACT, path)
    np.save(given, image.numpy())
    subprocess.run([sys.executable, "-c", RUN, path, got, given], check=True)  # it may crash
    np.testing.assert_allclose(np.load(got), module(image).numpy(), atol=1e-5)


def test_constants_that_are_packed_in_one_way_or_not_at_all_stay_single() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)
            self.scale = nn.Parameter(torch.ones(8))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x) * self.scale) + self.scale

    program = torch.export.export(Twice().eval(), (torch.zeros(1, 8),), strict=False)
    before = str(program.graph)
    _separate_packed(program)
    assert str(program.graph) == before
    assert len(program.graph_signature.input_specs) == 4
