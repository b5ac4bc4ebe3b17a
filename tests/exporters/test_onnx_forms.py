"""What torch's exporter to ONNX drops, and what onnxruntime lacks or computes otherwise, comes out right."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.onnx import lower
from mobilevit_tools.runtimes.registry import load_session
from tests.quantization.tiny import CONTRACT, SIDE


class Dropped(nn.Module):
    """Operators whose arguments or last digits are lost."""

    def forward(self, x: Tensor) -> list[Tensor]:
        tenths = torch.round(x * 10) * 0.1
        return [
            F.avg_pool2d(x, 2, divisor_override=3),
            F.avg_pool2d(x, (3, 2), (4, 3), ceil_mode=True, divisor_override=2),
            F.avg_pool2d(x[..., :15, :15], 2, 3, 1, ceil_mode=True),
            F.max_pool2d(x[..., :15, :15], 2, 3, 1, ceil_mode=True),
            F.max_pool2d(F.pad(-1 - x.abs(), (1, 1, 1, 1)), 3, 2),
            tenths % 0.3,
            torch.remainder(tenths, tenths.flip(3) + 0.05),
            tenths.clone().remainder_(0.7),
            tenths // 0.3,
            torch.div(tenths, -0.1, rounding_mode="floor"),
            F.logsigmoid(60 * x),
            torch.atan2(torch.round(x), torch.round(x.flip(3))),
            torch.logaddexp(50 * x, 60 * x),
            F.adaptive_max_pool2d(x, (5, 4)),
            F.avg_pool3d(x[:, None], (1, 2, 3), divisor_override=3),
            F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
            F.interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True),
        ]


class Bfloat16(nn.Module):
    """A convolution that computes in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3).bfloat16()

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layer(x.bfloat16()).relu().float()]


@pytest.mark.parametrize("module", [Dropped(), Bfloat16()], ids=["dropped", "bfloat16"])
@torch.no_grad()
def test_values_are_those_of_torch_in_the_same_precision(tmp_path: Path, module: nn.Module) -> None:
    lower(module, ExportSpec("onnx"), CONTRACT, tmp_path / "model.onnx")
    image = 2 * torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with load_session(tmp_path / "model.onnx") as session:
        got = session.run(image.numpy())
    for index, (left, right) in enumerate(zip(module(image), got, strict=True)):
        torch.testing.assert_close(
            torch.from_numpy(right), left, rtol=1e-5, atol=1e-5, msg=lambda text, index=index: f"output {index}: {text}"
        )


class Antialiased(nn.Module):
    """A resize with antialiasing."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, antialias=True, **self.options)


@pytest.mark.parametrize(
    "options",
    [
        {"scale_factor": 0.6, "mode": "bilinear"},
        {"scale_factor": (0.5, 0.6), "mode": "bicubic"},
        {"size": (7, 5), "mode": "bilinear", "align_corners": True},
    ],
)
def test_what_onnx_computes_otherwise_is_refused_with_its_line(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match=r"_aa\.vec \(test_onnx_forms\.py, line \d+: return F\.interpolate"):
        lower(Antialiased(**options), ExportSpec("onnx"), CONTRACT, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
