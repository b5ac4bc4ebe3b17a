"""ONNX's student: inputs and results in 256 levels, weights symmetric with a scale per output channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilevit_tools.quantization.rounding import RoundedActivation, RoundedWeight
from mobilevit_tools.quantization.student import Scheme, Student, round_operators

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobilevit_tools.quantization._base import Quantization


def make_student(module: nn.Module, example: Tensor, quantization: Quantization) -> Student:
    """Return ``module`` as ONNX Runtime's quantizer rounds it, depthwise convolutions included."""
    activation = None if quantization.calibration is None else RoundedActivation.affine
    scheme = Scheme(lambda _, axis: RoundedWeight(axis), activation, results=True)
    return Student(round_operators(module, example, quantization, scheme))
