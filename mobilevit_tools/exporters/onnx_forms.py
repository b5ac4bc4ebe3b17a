"""What torch's exporter to ONNX drops, or onnxruntime lacks or computes otherwise, in forms that come out right.

Of torch 2.13 and onnxruntime 1.31: average pooling loses a divisor of its own; pooling that rounds up counts a window
behind the map that torch drops; resizes with antialiasing map pixels
otherwise, save for those to a size; remainders and quotients that are rounded down are off by one beside multiples; the
logarithm of a sigmoid, or of a sum of exponentials, is infinite far out, and an angle is not a number at zero; there is
no adaptive max pooling; next to nothing computes in bfloat16 on a CPU. Batch norms by running statistics and pooling of
whole maps are written as operators that ONNX has functions for, which saves decomposing the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mobilevit_tools.blame import line_in
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.forms._base import Forms, first_of
from mobilevit_tools.forms.arithmetic import angle, floor_quotient, log_of_sum, log_sigmoid, quotient, remainder
from mobilevit_tools.forms.pooling import (
    adaptive_max_pool,
    floored_average,
    floored_maximum,
    overridden_average,
    overridden_average_of_volumes,
    whole_average,
)
from mobilevit_tools.forms.resize import bicubic_to_size, bilinear_to_size
from mobilevit_tools.forms.statistics import inference_norm
from mobilevit_tools.forms.widths import in_float32

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten


_ANTIALIASED: Forms = {
    _aten._upsample_bilinear2d_aa.vec: bilinear_to_size,
    _aten._upsample_bicubic2d_aa.vec: bicubic_to_size,
}

_FORMS: Forms = {
    **_ANTIALIASED,
    _aten.adaptive_avg_pool2d.default: whole_average,
    _aten.adaptive_max_pool1d.default: adaptive_max_pool,
    _aten.adaptive_max_pool2d.default: adaptive_max_pool,
    _aten.batch_norm.default: inference_norm,
    _aten.avg_pool1d.default: floored_average,
    _aten.avg_pool2d.default: first_of(overridden_average, floored_average),
    _aten.avg_pool3d.default: first_of(overridden_average_of_volumes, floored_average),
    _aten.max_pool1d.default: floored_maximum,
    _aten.max_pool2d.default: floored_maximum,
    _aten.max_pool3d.default: floored_maximum,
    _aten.remainder.Scalar: remainder,
    _aten.remainder.Tensor: remainder,
    _aten.div.Scalar_mode: quotient,
    _aten.div.Tensor_mode: quotient,
    _aten.floor_divide.default: floor_quotient,
    _aten.floor_divide.Scalar: floor_quotient,
    _aten.log_sigmoid.default: log_sigmoid,
    _aten.atan2.default: angle,
    _aten.logaddexp.default: log_of_sum,
}


def forms_of(program: ExportedProgram) -> Forms:
    """Return the forms in which ``program`` is to be written."""
    return {**in_float32(program, torch.bfloat16), **_FORMS}


def check_arguments(model: str, program: ExportedProgram) -> None:
    """Refuse what the converter takes and writes as something else.

    Raises:
        BadInputError: There is such an operator; the message names it and the line of people's source.
    """
    for node in program.graph.nodes:
        if node.target not in _ANTIALIASED:
            continue
        _, _, align_corners, factors = (*node.args, None)[:4]
        if align_corners or factors:
            line = line_in(node.meta.get("stack_trace") or "")
            raise BadInputError(
                f"{model} resizes with antialiasing {'between corners' if align_corners else 'by a factor'}, which "
                f"ONNX computes differently: {node.target}" + (f" ({line})." if line else "."),
                hint="Pass the size instead of the factor, and omit align_corners.",
                code="not_convertible",
            )
