"""The same package from fewer validations of the program."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from coremltools.converters.mil.mil import Program
from coremltools.converters.mil.mil.passes.defs.optimize_repeat_ops import reduce_transposes
from coremltools.proto import Model_pb2
from torch import Tensor, nn

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters import coreml
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.runtimes.registry import open_session


def lower(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Write a small package; return how often its program was validated whole."""
    calls = []
    validate = Program.validate

    def counted(self: Program, check_essential_scope: bool = False) -> None:
        calls.append(check_essential_scope)
        validate(self, check_essential_scope)

    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    for index, parameter in enumerate(net.parameters()):
        nn.init.constant_(parameter, 0.1 + index)
    contract = Contract("net", Preprocessing((8, 8)), "image", "probabilities", tuple("abcd"), "none")
    with monkeypatch.context() as patch:
        patch.setattr(Program, "validate", counted)
        coreml.lower(net, ExportSpec("coreml"), contract, path)
    return len(calls)


def program_in(package: Path) -> str:
    """Return a package's specification; coremltools numbers constants in no fixed order."""
    model = Model_pb2.Model()
    model.ParseFromString((package / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
    return re.sub(r"\bconst_\d+", "const", str(model))


def test_a_program_is_validated_a_few_times_and_its_package_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = lower(tmp_path / "few.mlpackage", monkeypatch)
    validate = Program.validate
    monkeypatch.setattr(coreml, "validated_where_it_counts", nullcontext)
    every = lower(tmp_path / "every.mlpackage", monkeypatch)
    assert Program.validate is validate  # what was replaced is back
    assert every > 100  # if coremltools no longer does this, neither do we need to keep it from it
    assert 3 <= few <= every / 5
    assert program_in(tmp_path / "few.mlpackage") == program_in(tmp_path / "every.mlpackage")
    weights = Path("Data", "com.apple.CoreML", "weights", "weight.bin")
    one, another = tmp_path / "few.mlpackage" / weights, tmp_path / "every.mlpackage" / weights
    assert one.read_bytes() == another.read_bytes()


class Grams(nn.Module):
    """Products of a value with itself, turned; coremltools cancels one of the transposes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        tokens = self.stem(x).flatten(2).transpose(1, 2)  # (1, 16, 4)
        square = tokens[:, :4].transpose(1, 2)
        turned = torch.relu(square).transpose(1, 2)
        return [tokens.transpose(1, 2) @ tokens, square.transpose(1, 2) @ square, turned + turned.transpose(1, 2)]


@torch.no_grad()
def test_a_value_is_multiplied_by_itself_turned(tmp_path: Path) -> None:
    net = Grams().eval()
    contract = Contract("net", Preprocessing((8, 8)), "tensor", "features", None, "none")
    apply = reduce_transposes.apply
    coreml.lower(net, ExportSpec("coreml"), contract, tmp_path / "net.mlpackage")
    assert reduce_transposes.apply is apply
    image = torch.randn(1, 3, 8, 8)
    with open_session(tmp_path / "net.mlpackage") as session:
        got = session.run(image.numpy())
    for expected, result in zip(net(image), got, strict=True):
        torch.testing.assert_close(torch.from_numpy(result), expected, rtol=1e-4, atol=1e-5)
