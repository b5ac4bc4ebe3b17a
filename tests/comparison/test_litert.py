from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("ai_edge_litert", reason="the `litert` extra is not installed; make test-targets")

import mobilevit_tools
from mobilevit_tools.comparison.litert import read_layers
from mobilevit_tools.comparison.reading import read_apart
from mobilevit_tools.errors import BadInputError
from tests.optional import Net, artifact

pytestmark = pytest.mark.targets


def test_the_models_weights_are_found() -> None:
    stored, _ = read_apart("litert", artifact("litert"))
    torch.manual_seed(0)
    net = Net()
    contents = {each.sha256 for each in stored}
    for weight in (net.attention.weight, net.head.weight):
        assert hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest() in contents
    assert {each.dtype for each in stored} == {"float32"}


def test_a_damaged_model_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(artifact("litert").read_bytes()[:1000])
    with pytest.raises(BadInputError):
        read_apart("litert", path)


class _Weighted(nn.Module):
    """One layer of each kind that multiplies by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.spatial = nn.Conv3d(2, 3, 3, padding=1)
        self.up = nn.ConvTranspose2d(3, 8, 2, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.stem(x))
        x = self.up(self.spatial(x.unflatten(1, (2, 4))).mean(2))
        return self.head(x.mean((2, 3)))


def test_every_layer_with_a_weight_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = _Weighted()
    made = mobilevit_tools.export(net, name="net", targets="litert", input_size=(16, 16), output=tmp_path).artifacts[0]
    layers = read_layers(made.path)
    assert {each.kind for each in layers} == {
        "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "TRANSPOSE_CONV", "FULLY_CONNECTED",
    }  # fmt: skip
    assert sum(each.values for each in layers) == sum(each.numel() for each in net.parameters() if each.dim() > 1)
    assert sum(each.macs for each in layers) == made.macs
