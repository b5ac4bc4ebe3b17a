"""What XNNPACK's lowering gets wrong, lacks or leaves outside, in forms that it computes as torch does.

Of executorch 1.5.1: a softmax of a map runs over the channels where the delegate keeps the map channels-last; GELU's
tanh approximation becomes the exact GELU; average pooling with a divisor of its own, equal to the kernel's size, loses
it where it pads; PReLU of any rank but 4, and a maximum over other axes than those of a map, fail to lower; a linear
layer whose weight is a vector fails to run. Attention as one operator comes apart into pieces that stay outside. So do
norms, means and variances over any axes but a map's, rolls, slices with a step, picks, splits, broadcast copies,
resizing to the nearest pixels, axes of one that come and go, ELU, and the conversion of whole numbers in hardsigmoid
and addcmul.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Node

from mobilevit_tools.exporters import executorch_forms
from mobilevit_tools.forms import attention, means, norms, products, resampling, views, windows
from mobilevit_tools.forms._base import Forms, check_results, functional, results_in_double, write_forms
from mobilevit_tools.forms.activations import (
    exponential_celu,
    exponential_elu,
    exponential_mish,
    exponential_selu,
    hard_shrink,
    hard_sigmoid,
    kahan_log_sigmoid,
    kahan_softplus,
    prelu,
    sigmoid_gelu,
    soft_shrink,
    tanh_gelu,
)
from mobilevit_tools.forms.constants import constants_changed_in_place, fold_constants, stored_values
from mobilevit_tools.forms.folded import fold_norms, norms_to_fold
from mobilevit_tools.forms.maps import keep_maps, maps_to_keep
from mobilevit_tools.forms.pooling import (
    adaptive_average,
    largest,
    largest_along,
    overridden_average,
    plain_average,
    pooled_largest,
    smallest_along,
)
from mobilevit_tools.forms.sums import inverse, mixture, product_added, quotient_added, whole_power, with_real_number

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_aten = torch.ops.aten


def _prelu(x: Tensor, weight: Tensor) -> Any:
    return NotImplemented if x.dim() == 4 else prelu(x, weight)


_ATTENTION = _aten.scaled_dot_product_attention.default
QUANTIZED: Forms = {
    **executorch_forms.FORMS,
    **executorch_forms.NORMS,
    _aten.softmax.int: attention.flat_softmax,
    _ATTENTION: attention.unmasked_products,
    _aten.gelu.default: tanh_gelu,
    _aten.prelu.default: _prelu,
    _aten.linear.default: products.with_a_vector,
    _aten.max.dim: largest,
    _aten.avg_pool2d.default: overridden_average,
    _aten.linalg_vector_norm.default: means.vector_norm,
    _aten.mean.dim: means.mean,
}
"""Forms for programs with quantized operators: between these the delegate would compute further slices, reshapes and
products with integers, which it lowers and then fails to run. Means and norms read values in floating point."""
FORMS: Forms = {
    **QUANTIZED,
    _ATTENTION: attention.scaled_products,
    _aten.gelu.default: sigmoid_gelu,
    _aten.elu.default: exponential_elu,
    _aten.selu.default: exponential_selu,
    _aten.celu.default: exponential_celu,
    _aten.hardsigmoid.default: hard_sigmoid,
    _aten.softplus.default: kahan_softplus,
    _aten.log_sigmoid.default: kahan_log_sigmoid,
    _aten.mish.default: exponential_mish,
    _aten.softshrink.default: soft_shrink,
    _aten.hardshrink.default: hard_shrink,
    _aten.max.dim: pooled_largest,
    _aten.avg_pool2d.default: plain_average,
    _aten.adaptive_avg_pool1d.default: adaptive_average,
    _aten.adaptive_avg_pool2d.default: adaptive_average,
    _aten.amax.default: largest_along,
    _aten.amin.default: smallest_along,
    _aten.reciprocal.default: inverse,
    _aten.pow.Tensor_Scalar: whole_power,
    _aten.lerp.Scalar: mixture,
    _aten.lerp.Tensor: mixture,
    _aten.addcmul.default: product_added,
    _aten.addcdiv.default: quotient_added,
    **{
        each: with_real_number(each)
        for each in (_aten.add.Tensor, _aten.sub.Tensor, _aten.rsub.Scalar, _aten.mul.Tensor, _aten.div.Tensor)
    },
    _aten.batch_norm.default: norms.stored_batch_norm,
    _aten.group_norm.default: norms.pooled_group_norm,
    _aten.layer_norm.default: norms.layer_norm_products,
    _aten.rms_norm.default: norms.root_mean_square_norm,
    _aten.mean.default: means.mean_of_all,
    _aten.sum.dim_IntList: means.total,
    _aten.sum.default: means.total_of_all,
    _aten.var.correction: means.variance,
    _aten.var.dim: means.variance_along,
    _aten.std.correction: means.deviation,
    _aten.std.dim: means.deviation_along,
    _aten.var_mean.correction: means.variance_and_mean,
    **{
        each: resampling.as_copies(each) for each in (_aten.upsample_nearest2d.vec, _aten._upsample_nearest_exact2d.vec)
    },
    _aten.im2col.default: windows.columns,
    _aten.col2im.default: windows.map_of_columns,
    _aten.matmul.default: products.stacked,
    _aten.einsum.default: products.spelt_out,
    _aten.alias.default: views.itself,
    _aten.detach.default: views.itself,
    _aten.lift_fresh_copy.default: views.itself,
    _aten.cat.default: views.joined,
    _aten.roll.default: views.roll,
    _aten.select.int: views.select,
    _aten.unbind.int: views.unbind,
    _aten.split.Tensor: views.split,
    _aten.split_with_sizes.default: views.split_with_sizes,
    _aten.chunk.default: views.chunk,
    _aten.slice.Tensor: views.stepped_slice,
    _aten.squeeze.default: views.squeeze,
    _aten.squeeze.dim: views.squeeze,
    _aten.squeeze.dims: views.squeeze,
    _aten.unsqueeze.default: views.unsqueeze,
    _aten.expand.default: views.expand,
    _aten.expand_as.default: views.expand_as,
    _aten.repeat.default: views.repeat,
}


def prepare(program: ExportedProgram, inputs: Sequence[Tensor]) -> ExportedProgram:
    """Return ``program`` in forms that XNNPACK takes over, each proved in float64; the given one may change.

    Raises:
        MvtError: A form does not compute what it stands for.
    """
    if _is_quantized(program):
        program = functional(program, QUANTIZED)
        fold_constants(program)
        write_forms(program, QUANTIZED, inputs)
        fold_constants(program)
        return program
    program = functional(program, FORMS)
    if constants_changed_in_place(program):
        program = program.run_decompositions({})
    fold_constants(program, moved=True)
    layers, maps = norms_to_fold(program), maps_to_keep(program)
    if layers or maps:
        expected = results_in_double(program, inputs)
        fold_norms(program, layers)
        keep_maps(program, maps)
        check_results(program, inputs, expected)
    sighted = all(_shows_each_row(program, node) for node in program.graph.nodes if node.target is _ATTENTION)
    write_forms(program, FORMS if sighted else {**FORMS, _ATTENTION: attention.unmasked_products}, inputs)
    fold_constants(program, moved=True)
    return program


def _is_quantized(program: ExportedProgram) -> bool:
    return any(getattr(node.target, "namespace", None) == "quantized_decomposed" for node in program.graph.nodes)


def _shows_each_row(program: ExportedProgram, node: Node) -> bool:
    """Tell whether an attention has no mask, or a stored one that leaves each token something to see."""
    mask = node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    if mask is None:
        return True
    value = stored_values(program).get(mask.name) if isinstance(mask, Node) else None
    return value is not None and not attention.hides_rows(value)
