"""LiteRT through litert-torch: one file, with the contract and the labels in the archive that follows the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import litert_torch
import torch
from torch import Tensor, nn

from mobilevit_tools.data.contract import INPUT_NAME
from mobilevit_tools.exporters._base import Delegation, ExportSpec, Half, Lowering
from mobilevit_tools.exporters.class_map import answering
from mobilevit_tools.exporters.io_names import example_input, output_names
from mobilevit_tools.exporters.litert_forms import FORMS
from mobilevit_tools.forms._base import functional, write_forms
from mobilevit_tools.runtimes.litert_files import add_files
from mobilevit_tools.runtimes.litert_operators import read_operators

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.quantization._base import Quantization

CLASS_TYPES = (torch.int32,)
"""Types of class maps; the converter narrows 64-bit integers."""


class _Named(nn.Module):
    """Returns a program's outputs in a dictionary: the converter takes their names from its keys."""

    def __init__(self, program: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.program = program
        self.names = tuple(names)
        self.training = False  # a traced program has no eval()

    def forward(self, **images: Tensor) -> dict[str, Tensor]:
        outputs = self.program(images[INPUT_NAME])
        values = [outputs] if isinstance(outputs, Tensor) else outputs
        return dict(zip(self.names, values, strict=True))


def trace(module: nn.Module, spec: ExportSpec, contract: Contract) -> None:
    """Return nothing: LiteRT computes in float32 whatever its weights are stored in."""


def lower(
    module: nn.Module,
    spec: ExportSpec,
    contract: Contract,
    path: Path,
    quantization: Quantization | None = None,
    *,
    half: Half | None = None,  # noqa: ARG001  # it has no half arithmetic
) -> Lowering:
    """Write ``module`` as a model whose only signature takes ``image`` and returns the model's outputs by name.

    Raises:
        UsageError: Some operators are to stay in floating point though others are quantized.
    """
    example = example_input(contract, spec.batch)
    names = output_names(module, contract, example)
    traced = torch.export.export(answering(module, contract, CLASS_TYPES).eval(), (example,), strict=False)
    traced = functional(traced, FORMS)
    write_forms(traced, FORMS, (example,))
    named = _Named(traced.module(check_guards=False), names)
    litert_torch.convert(named, sample_kwargs={INPUT_NAME: example}).export(str(path))
    if quantization is not None:
        from mobilevit_tools.quantization.litert import quantize

        path.write_bytes(quantize(path, quantization, spec.batch))
    add_files(path, contract)
    operators = read_operators(path)
    return Lowering(Delegation(operators.calls, operators.outside, operators.macs_share, operators.pieces))
