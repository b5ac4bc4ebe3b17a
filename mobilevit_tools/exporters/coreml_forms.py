"""What coremltools drops, lacks or takes for something else, in forms that it converts as torch computes them.

Of coremltools 9.0: ``alpha`` of sums, running statistics of an instance norm, the correction of a variance over all
values, the axis of argmax() and the threshold of softplus are dropped; GELU's tanh approximation becomes the exact GELU
and antialiasing none; a reciprocal gets an epsilon of 1e-4; a window of average pooling that hangs over an edge is
divided by the whole kernel on the device. Core ML pads two axes at most with other values than a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.export import default_decompositions

from mobilevit_tools.forms import (
    activations,
    arithmetic,
    indexing,
    padding,
    pooling,
    products,
    resampling,
    statistics,
    sums,
)
from mobilevit_tools.forms._base import Forms

_aten = torch.ops.aten
MOST_AXES = 5
"""Axes that a tensor has at most in Core ML."""

FORMS: Forms = {
    _aten.add.Tensor: sums.scaled_sum,
    _aten.add.Scalar: sums.scaled_sum,
    _aten.sub.Tensor: sums.scaled_difference,
    _aten.sub.Scalar: sums.scaled_difference,
    _aten.rsub.Tensor: sums.scaled_reverse_difference,
    _aten.rsub.Scalar: sums.scaled_reverse_difference,
    _aten.lerp.Scalar: sums.mixture,
    _aten.lerp.Tensor: sums.mixture,
    _aten.reciprocal.default: sums.inverse,
    _aten.addmm.default: sums.scaled_product_sum,
    _aten.baddbmm.default: sums.scaled_product_sum,
    _aten.linear.default: products.with_a_vector,
    _aten.einsum.default: sums.spelt_einsum,
    _aten.cdist.default: sums.distances,
    _aten.gelu.default: activations.tanh_gelu,
    _aten.hardtanh.default: activations.whole_bounds,
    _aten.celu.default: activations.continuous_elu,
    _aten.log_sigmoid.default: arithmetic.log_sigmoid,
    _aten.softplus.default: activations.limited_softplus,
    _aten.where.ScalarSelf: sums.typed_choice,
    _aten.where.ScalarOther: sums.typed_choice,
    _aten.var_mean.correction: statistics.variance_and_mean,
    _aten.std_mean.correction: statistics.deviation_and_mean,
    _aten.std.default: statistics.deviation_of_all,
    _aten.var.default: statistics.variance_of_all,
    _aten.std.correction: statistics.whole_deviation,
    _aten.var.correction: statistics.whole_variance,
    **{
        each: statistics.along_one_axis(each, MOST_AXES)
        for each in (_aten.sum.dim_IntList, _aten.mean.dim, _aten.amax.default, _aten.amin.default)
    },
    _aten.argmax.default: statistics.flat_argmax,
    _aten.argmin.default: statistics.flat_argmin,
    _aten.instance_norm.default: statistics.stored_instance_norm,
    _aten.avg_pool1d.default: pooling.whole_windows,
    _aten.avg_pool2d.default: pooling.whole_windows,
    _aten.avg_pool3d.default: pooling.whole_windows,
    _aten.max_pool1d.default: pooling.dilated_maximum,
    _aten.max_pool2d.default: pooling.dilated_maximum,
    _aten.index_put.default: indexing.placed_rows,
    _aten.pad.default: padding.sliced_padding,
    _aten._upsample_bilinear2d_aa.vec: resampling.as_products(_aten._upsample_bilinear2d_aa.vec),
    _aten._upsample_bicubic2d_aa.vec: resampling.as_products(_aten._upsample_bicubic2d_aa.vec),
    _aten.upsample_bicubic2d.vec: resampling.as_products(_aten.upsample_bicubic2d.vec),
    _aten.upsample_bilinear2d.vec: resampling.uneven_as_products(_aten.upsample_bilinear2d.vec),
    _aten.upsample_nearest2d.vec: resampling.as_selections(_aten.upsample_nearest2d.vec, only_uneven=True),
    _aten._upsample_nearest_exact2d.vec: resampling.as_selections(
        _aten._upsample_nearest_exact2d.vec, only_uneven=False
    ),
}

ALIASES = frozenset({_aten.alias.default, _aten.detach.default, _aten.lift_fresh_copy.default})
"""Operators whose result is what they read."""
_UNKNOWN_IN_PART = frozenset({_aten.cosine_similarity.default})
"""Operators that coremltools knows and takes in some of their forms only."""


def is_unknown(operator: object) -> bool:
    """Tell whether coremltools has no converter for an operator."""
    if not isinstance(operator, OpOverload):
        return False
    kind = sanitize_op_kind(operator.name())  # type: ignore[no-untyped-call]
    return operator in _UNKNOWN_IN_PART or kind not in _TORCH_OPS_REGISTRY


def decompositions() -> dict[Any, Any]:
    """Return torch's own way to write operators in simpler ones, for those that coremltools has no converter for."""
    ways = {**decomposition_table, **default_decompositions()}
    return {
        operator: way
        for operator, way in ways.items()
        if is_unknown(operator) and operator not in ALIASES and operator not in FORMS
    }
