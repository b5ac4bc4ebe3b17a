"""XNNPACK adds up in half precision: operators with long sums stay in float32 where a program would fail for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mobilevit_tools as mvt
from mobilevit_tools.errors import BadInputError, GateError
from mobilevit_tools.exporters._base import Half, Lowering, load_exporter
from mobilevit_tools.precision.sums import summed_in_half, terms

WIDTH, CONVS = 256, 8


class Head(nn.Sequential):
    """Convolutions of 2,304 products a result, as those of dense heads, behind one of three."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 1)]
        for _ in range(CONVS):
            conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight)
            layers += [nn.ReLU(), conv]
        super().__init__(*layers)


def test_long_sums_stay_in_float32_where_the_program_would_fail(tmp_path: Path) -> None:
    def export(folder: str, keep: tuple[str, ...] | None) -> mvt.ExportResult:
        return mvt.export(
            Head(), name="head", targets="executorch", precision="fp16", fp16_keep=keep, input_size=(8, 8),
            task="raw", images=[], output=tmp_path / folder,
        )  # fmt: skip

    with pytest.raises(GateError) as failed:
        export("plain", ())
    measured = failed.value.result.artifacts[0].parity.snr_db
    (made,) = export("kept", None).artifacts
    assert made.parity.status == "passed"
    assert made.parity.snr_db > measured + 10
    assert made.preflight is not None
    assert made.preflight.minimal is False
    kept = {each.name: each.reason for each in made.preflight.keep}
    assert [name for name in kept if name.startswith("conv")] == [f"conv2d_{index + 1}" for index in range(CONVS)]
    assert kept["conv2d_2"] == "precision: it adds up 2304 products"
    assert kept["relu_1"] == "precision: its neighbours are in float32"
    predicted = re.search(r"SNR ([\d.]+) dB", made.preflight.plain or "")
    assert predicted is not None
    assert float(predicted[1]) == pytest.approx(measured, abs=1.5)


def test_an_error_of_the_second_attempt_hides_no_failed_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower, kept = load_exporter("executorch").lower, []

    def second_fails(*args: Any, half: Half | None = None, **options: Any) -> Lowering:
        kept.append(half is not None and half.keep)
        if half is not None and half.keep:
            raise BadInputError("It cannot be converted.")
        made: Lowering = lower(*args, half=half, **options)
        return made

    monkeypatch.setattr(load_exporter("executorch"), "lower", second_fails)
    with pytest.raises(GateError) as failed:
        mvt.export(
            Head(), name="head", targets="executorch", precision="fp16", input_size=(8, 8), task="raw", images=[],
            output=tmp_path, keep_failed=True,
        )  # fmt: skip
    (made,) = failed.value.result.artifacts
    assert made.path.exists()
    assert str(made.parity.reason).endswith("; keeping more in float32 failed: It cannot be converted.")
    assert [each.name for each in made.path.parent.iterdir() if each.name.startswith("again")] == []
    assert any(kept)


def test_terms_are_the_products_of_a_result() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grouped = nn.Conv2d(8, 16, (3, 5), groups=4)
            self.linear = nn.Linear(16, 7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(self.grouped(x).flatten(2).transpose(1, 2))
            return torch.relu(y) @ y.transpose(1, 2)

    program = torch.export.export(Net(), (torch.randn(1, 8, 9, 9),))
    counted = {str(node.target): terms(node) for node in program.module(check_guards=False).graph.nodes}
    assert counted["aten.conv2d.default"] == 2 * 3 * 5
    assert counted["aten.linear.default"] == 16
    assert counted["aten.matmul.default"] == 7
    assert counted["aten.relu.default"] == 1


def test_a_sum_of_one_product_is_rounded_once_and_what_overflows_stays_infinite() -> None:
    values = torch.tensor([1 / 3, -2.0, 0.0, 70000.0])
    assert torch.equal(summed_in_half(values, 1), values.half().float())
    assert torch.equal(summed_in_half(values, 4096)[1:], torch.tensor([-2.0, 0.0, torch.inf]))
    lost = (summed_in_half(values, 4096)[0] - values[0]).abs() / (values[0].half().float() - values[0]).abs()
    assert 30 < lost < 34
