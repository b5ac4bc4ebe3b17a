"""What a converter refuses is the model's matter: one sentence names the model, the target and the reason."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.errors import BadInputError, GateError
from mobilevit_tools.exporters import onnx
from tests.conftest import SMALL

NET = """
import torch
from torch import nn


class Rare(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(torch.lgamma(x.mean((2, 3)).abs() + 1))


class Constant(Rare):
    def forward(self, x):
        return self.head(x.mean((2, 3)) @ torch.eye(3))


def rare():
    return Rare(), {"input_size": (8, 8)}


def constant():
    return Constant(), {"input_size": (8, 8)}
"""


@pytest.mark.parametrize(
    ("function", "target", "precision", "reason"),
    [
        ("rare", "coreml", "fp32", r"to coreml-fp32: Core ML does not support .*lgamma.* \(net.py, line 12: "),
        ("rare", "onnx", "fp32", r"to onnx-fp32: ConversionError: .* \(DispatchError: No ONNX function .*lgamma"),
        ("constant", "onnx", "fp16", r"to onnx-fp16: \w+Error: "),
    ],
)
def test_what_a_converter_refuses_is_bad_input(
    tmp_path: Path, function: str, target: str, precision: str, reason: str
) -> None:
    (tmp_path / "net.py").write_text(NET)
    with pytest.raises(BadInputError, match=f"net.py:{function} cannot be converted {reason}") as refusal:
        mobilevit_tools.export(
            f"{tmp_path}/net.py:{function}",
            targets=target,
            random_weights=True,
            precision=precision,
            rewrites=(),
            output=tmp_path / "out",
        )
    assert refusal.value.error_code == "not_convertible"
    assert "\n" not in refusal.value.message
    assert refusal.value.__cause__ is not None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", [GateError("a gate"), OSError(errno.EIO, "I/O error"), MemoryError()])
def test_what_is_no_refusal_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def lower(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(onnx, "lower", lower)
    with pytest.raises(type(fault)) as caught:
        mobilevit_tools.export(SMALL, targets="onnx", random_weights=True, output=tmp_path / "out")
    assert caught.value is fault
