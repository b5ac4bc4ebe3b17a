from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.onnx import lower
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.quantization.onnx_ranges import CHUNK
from mobilevit_tools.runtimes.registry import load_session
from tests.quantization.tiny import CONTRACT, calibration, fresh_inputs, smooth_pixels, snr_db

METHODS = ["percentile", "min-max", "entropy"]


class Odd(nn.Module):
    """Activations that are constant, all zero, negative alone, tiny or huge, each read by a layer of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.side = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x.mean(dim=(2, 3))) + self._odd(x).mean(dim=(2, 3)).mean(dim=1, keepdim=True).tanh()

    def _odd(self, x: Tensor) -> Tensor:
        if self.kind == "constant":
            return self.side(torch.sigmoid(x + 40))
        if self.kind == "negative constant":
            return self.side(torch.tanh(x - 40))
        if self.kind == "zero":
            return self.side(torch.relu(x - 100))
        if self.kind == "negative":
            return self.side(-torch.relu(x) - 3)
        if self.kind == "tiny":
            return self.side(x * 1e-36)
        if self.kind == "huge":
            return self.side(x * 1e30) * 1e-30
        return self.side(torch.where(x.mean() > 0.3, x * 1e4, x * 1e-12)) * 1e-4  # tiny first, then not


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *((kind, "percentile") for kind in ("negative constant", "negative", "tiny", "huge")),
        *((kind, method) for kind in ("constant", "zero", "growing") for method in METHODS),
    ],
)
def test_any_activation_has_a_range(tmp_path: Path, kind: str, method: str) -> None:
    module = Odd(kind).eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("onnx", "int8", calibration(), method)
    lower(module, ExportSpec("onnx", precision="int8"), CONTRACT, tmp_path / "model.onnx", plan)
    inputs = fresh_inputs()
    with load_session(tmp_path / "model.onnx") as session:
        got = np.concatenate([session.run(image[None])[0] for image in inputs])
    assert snr_db(module(torch.from_numpy(inputs)).numpy(), got) > 20


class Infinite(nn.Module):
    """Divides by zero on a dark photo."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.log(torch.relu(self.stem(x))).mean(dim=(2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_an_infinite_activation_is_refused(tmp_path: Path, method: str) -> None:
    pixels = smooth_pixels(CHUNK, seed=0)
    module = Infinite().eval().requires_grad_(requires_grad=False)
    plan = plan_quantization("onnx", "int8", calibration(pixels=pixels), method)
    with pytest.raises(BadInputError, match="not finite"):
        lower(module, ExportSpec("onnx", precision="int8"), CONTRACT, tmp_path / "model.onnx", plan)
