"""The same package from fewer validations of the program."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from coremltools.converters.mil.mil import Program
from coremltools.proto import Model_pb2
from torch import nn

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.exporters import coreml
from mobilevit_tools.exporters._base import ExportSpec


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
