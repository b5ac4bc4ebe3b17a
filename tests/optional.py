"""One small net for the tests of optional targets, which run where the extra of one is installed."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import mobilevit_tools
from mobilevit_tools.artifacts.exported import ExportResult

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT / "mobilevit_tools/data/photos"


class Net(nn.Module):
    """What vision transformers are made of, on a handful of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(F.elu(self.stem(x), alpha=0.5).flatten(2).transpose(1, 2))
        q, k, v = self.attention(tokens).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        tokens = tokens + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(F.gelu(tokens).mean(1))


@functools.cache
def exported(target: str, precision: str = "fp32") -> ExportResult:
    """Export the net, once for a process."""
    torch.manual_seed(0)
    return mobilevit_tools.export(
        Net(),
        name="net",
        targets=target,
        precision=precision,
        labels=["cat", "dog", "horse"],
        input_size=(16, 16),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        calibration=PHOTOS if precision == "int8" else None,
        output=Path(tempfile.mkdtemp(prefix=f"mvt-{target}-")),
    )


def artifact(target: str, precision: str = "fp32") -> Path:
    """The path of the artifact; do not write."""
    return exported(target, precision).artifacts[0].path
