"""What a converter does not take is told by its operator and line, with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mobilevit_tools
from mobilevit_tools.analysis.graph import exported_program
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.exporters import refusals
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.refusals import naming_refusals

FAILING_CONVERTER = """
def convert(module, error):
    with naming_refusals(CONTRACT, ExportSpec("onnx"), module):
        raise error
"""
CONTRACT = Contract("net.py:build", Preprocessing((8, 8)))


def convert(module: nn.Module, error: Exception) -> None:
    """Fail in the package itself, as a converter does: no line of this file leads to the error."""
    space = {"naming_refusals": naming_refusals, "CONTRACT": CONTRACT, "ExportSpec": ExportSpec}
    exec(compile(FAILING_CONVERTER, refusals.__file__, "exec"), space)
    space["convert"](module, error)


class Net(nn.Module):
    """Three channels' means, and something that a converter cannot take."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        if self.how == "branch" and y.sum() > 0:
            return y * 2
        if self.how == "loop":
            for _ in range(int(y.abs().max()) + 1):
                y = y + 1
        if self.how == "numpy":
            y = torch.from_numpy(np.tanh(y.numpy()))
        if self.how == "histogram":
            y = y + torch.histc(y, 3, -1, 1)
        return y


@pytest.mark.parametrize(
    ("how", "line", "hint"),
    [
        ("branch", "if self.how == .branch. and y.sum", "torch.where instead of an if"),
        ("loop", r"for _ in range\(int\(y.abs", "a fixed number of steps"),
        ("numpy", r"y = torch.from_numpy\(np.tanh", "Use torch functions"),
    ],
)
def test_what_torch_cannot_trace_is_told_by_its_line(how: str, line: str, hint: str) -> None:
    with pytest.raises(
        BadInputError, match=rf"Net cannot be traced .*\(test_refusals\.py, line \d+: {line}"
    ) as refusal:
        exported_program(Net(how), (1, 3, 8, 8))
    assert hint in (refusal.value.hint or "")
    assert refusal.value.error_code == "not_traceable"


def test_an_error_that_names_nothing_is_told_with_the_operator_that_is_not_torchs_core() -> None:
    with pytest.raises(
        BadInputError,
        match=r"no attribute '_schema'; its operator aten\.histc\.default is not one .*\(test_refusals\.py, line",
    ):
        convert(Net("histogram").eval(), AttributeError("'WithEffects' object has no attribute '_schema'"))
    with pytest.raises(BadInputError, match=r"AttributeError: 'x' has no 'y'\n"):
        convert(Net("mean").eval(), AttributeError("'x' has no 'y'"))


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported fx node histc, kind histc",
        "No ONNX function found for <OpOverload(op='aten.histc', overload='default')>.",
        "PyTorch convert function for op 'histc' not implemented.",
        "For non-const input, the lowering for Torch `histc` op is not supported",
        "node histc (histc) got 1 input(s), expected [4]",
    ],
)
def test_the_line_of_an_operator_that_a_converter_names_is_found(said: str) -> None:
    with pytest.raises(BadInputError, match=r"test_refusals\.py, line \d+: y = y \+ torch\.histc") as refusal:
        convert(Net("histogram"), NotImplementedError(f"\x1b[96m{said}\x1b[0m"))
    assert "\x1b" not in refusal.value.message
    assert refusal.value.error_code == "not_convertible"


def test_an_error_that_names_no_operator_gets_no_line_and_ours_pass() -> None:
    with pytest.raises(BadInputError, match=r"to onnx-fp32: KeyError: 'histc'\n"):
        convert(Net("plain"), KeyError("histc"))
    with pytest.raises(UsageError):
        convert(Net("plain"), UsageError("as it is"))


SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.head, self.how = nn.Linear(3, 4), how

    def forward(self, x):
        y = x.mean((2, 3))
        if self.how == "int":
            y = y.reshape(int(x.shape[0]), -1)
        if self.how == "loop":
            y = torch.stack([each.flatten() for each in y])
        if self.how == "one":
            y = y.view(1, -1)
        if self.how == "across":
            y = y - y.mean(0, keepdim=True)
        return self.head(y)


def build(how="free"):
    return Net(how), {"input_size": (8, 8)}
"""


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("int", "has a fixed batch size"),
        ("loop", "has a fixed batch size"),
        ("one", "supports only a batch of 1"),
        ("across", "mixes the images of a batch"),
    ],
)
def test_a_model_of_a_fixed_batch_is_refused_where_the_batch_is_to_be_free(
    tmp_path: Path, how: str, message: str
) -> None:
    (tmp_path / "net.py").write_text(SOURCE)
    export = mobilevit_tools.export
    given = {"targets": "onnx", "random_weights": True, "options": {"how": how}, "output": tmp_path / "out"}
    with pytest.raises(BadInputError, match=message) as refusal:
        export(f"{tmp_path / 'net.py'}:build", dynamic_batch=True, **given)
    assert refusal.value.hint
    if how in ("int", "loop"):
        assert export(f"{tmp_path / 'net.py'}:build", batch=2, **given).artifacts[0].parity.status == "passed"
    else:
        with pytest.raises(BadInputError, match=message):
            export(f"{tmp_path / 'net.py'}:build", batch=2, **given)
