"""A program that ExecuTorch would stop in is refused when it is made, by the operator and the line that asks for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.executorch import lower
from tests.quantization.tiny import CONTRACT


class Sorts(nn.Module):
    """Has one operator with a kernel, two without, and one whose kernel takes fewer axes."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.local_response_norm(x, 3)
        volume = F.conv3d(y[:, None], torch.ones(1, 1, 3, 3, 3), padding=1)
        return volume.flatten(1).cumsum(1).sort(1)[0]


@pytest.mark.parametrize("backend", ["xnnpack", "portable"])
def test_operators_without_a_kernel_are_named_with_their_lines(tmp_path: Path, backend: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        lower(Sorts(), ExportSpec("executorch", backend=backend), CONTRACT, tmp_path / "model.pte")
    message = refusal.value.message
    assert refusal.value.error_code == "no_kernel"
    assert re.search(r"aten::avg_pool3d \(test_executorch_kernels\.py, line \d+: y = F\.local", message)
    assert re.search(r"aten::sort \(test_executorch_kernels\.py, line \d+: return volume\.flatten", message)
    assert re.search(r"aten::convolution \(test_executorch_kernels\.py, line \d+: volume = F\.conv3d", message)
    assert "cumsum.out" not in message
    assert list(tmp_path.iterdir()) == []
