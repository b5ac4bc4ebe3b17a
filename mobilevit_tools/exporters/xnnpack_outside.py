"""Why an operator stays outside XNNPACK, as data only: importing this module imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_VIEW = "a reshape that the partitioner does not support; a slice or reshape would be delegated"
_INTEGERS = "works on indices or booleans; the delegate supports floats only"
_REDUCTION = "a reduction without a delegate kernel; means over a map or as matrix products would be delegated"
_FEW = "works on indices, or on so few elements that a delegate call would cost more"
_CONSTANT = "creates a constant at run time; a stored constant would be delegated"

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "elu": "the partitioner leaves ELU to the portable kernels; relu(t) + exp(t - relu(t)) - 1 would be delegated",
        "gelu": "the delegate has GELU in float32 only",
        "native_layer_norm": "the delegate has no LayerNorm; with its means as products it would be delegated",
        "native_group_norm": "the delegate has no group norm",
        "_softmax": "the delegate has softmax over the last axis only",
        "expand_copy": "a broadcast copy that the delegate has no kernel for",
        "split_with_sizes_copy": "returns several tensors; as slices it would be delegated",
        "split_copy": "returns several tensors; as slices it would be delegated",
        "unbind_copy": "returns several tensors; as slices it would be delegated",
        "select_copy": _VIEW,
        "squeeze_copy": _VIEW,
        "unsqueeze_copy": _VIEW,
        "slice_copy": "a slice with a step, or of an element type that the delegate does not have",
        "mean": _REDUCTION,
        "sum": _REDUCTION,
        "amax": _REDUCTION,
        "amin": _REDUCTION,
        "var": _REDUCTION,
        "argmin": _INTEGERS,
        "argmax": _INTEGERS,
        "topk": _INTEGERS,
        "sort": _INTEGERS,
        "gather": _INTEGERS,
        "embedding": _INTEGERS,
        "index": _INTEGERS,
        "where": _INTEGERS,
        "eq": _INTEGERS,
        "ne": _INTEGERS,
        "lt": _INTEGERS,
        "le": _INTEGERS,
        "gt": _INTEGERS,
        "ge": _INTEGERS,
        "logical_and": _INTEGERS,
        "logical_or": _INTEGERS,
        "logical_not": _INTEGERS,
        "bitwise_and": _INTEGERS,
        "bitwise_or": _INTEGERS,
        "add": _FEW,
        "sub": _FEW,
        "mul": _FEW,
        "neg": _FEW,
        "exp": _FEW,
        "sqrt": _FEW,
        "clamp": _FEW,
        "abs": _FEW,
        "minimum": _FEW,
        "maximum": _FEW,
        "div": _FEW,
        "view_copy": _FEW,
        "permute_copy": _FEW,
        "arange": _CONSTANT,
        "full": _CONSTANT,
        "full_like": _CONSTANT,
        "scalar_tensor": _CONSTANT,
        "eye": _CONSTANT,
        "_to_dim_order_copy": "changes the element type or layout between the delegate and the portable kernels",
        "_clone_dim_order": "changes the layout between the delegate and the portable kernels",
        "reciprocal": "the delegate has no reciprocal; a division would be delegated",
        "erf": "the delegate has no error function of its own; GELU as one operator would be delegated",
        "pow": "the delegate has squares only",
        "convolution": "a convolution whose weights are not constant, or not over one or two axes",
        "bmm": "a product of element types that the delegate does not have",
    }
)
"""What XNNPACK leaves outside, by operator."""
