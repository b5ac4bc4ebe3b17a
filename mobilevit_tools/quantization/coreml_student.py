"""Core ML's student: symmetric levels for inputs and results of operators in int8; for fewer bits weights on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilevit_tools.quantization.coreml import OUTLIERS
from mobilevit_tools.quantization.coreml_grids import round_by_photos
from mobilevit_tools.quantization.rounding import OnGrid, RoundedActivation, RoundedWeight
from mobilevit_tools.quantization.student import Scheme, Student, round_operators
from mobilevit_tools.targets.precisions import PRECISIONS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mobilevit_tools.quantization._base import Quantization


def make_student(module: nn.Module, example: Tensor, quantization: Quantization) -> Student:
    """Return ``module`` as coremltools rounds it; weights of few bits start where photos round them to."""
    if PRECISIONS[quantization.precision].calibrated:
        outliers = OUTLIERS if quantization.method == "percentile" else 0
        scheme = Scheme(
            lambda _, axis: RoundedWeight(axis), RoundedActivation.symmetric, results=True, outliers=outliers
        )
        return Student(round_operators(module, example, quantization, scheme))
    if quantization.calibration is None:
        raise AssertionError("a student has photos")
    rounders = round_by_photos(
        module, quantization.calibration, quantization.precision, quantization.keep, len(example)
    )
    grids = {id(module.get_parameter(name)): OnGrid(rounder) for name, rounder in rounders.items()}
    graph = round_operators(module, example, quantization, Scheme(lambda weight, _: grids.get(id(weight))))
    return Student(graph, {name: OnGrid(rounder) for name, rounder in rounders.items()})
