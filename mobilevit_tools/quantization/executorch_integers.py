"""Quantized programs as XNNPACK can run them: between integers it takes more than it computes.

Of executorch 1.5.1: slices, means, products and padding of integers are lowered, and fail to run; max pooling is not
loaded with two ranges; of a map that is turned or reshaped, nobody else may read the integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from mobilevit_tools.quantization.sensitivity import WEIGHT_PLACES

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

WITH_WEIGHTS: Mapping[object, int] = MappingProxyType(
    {
        **WEIGHT_PLACES,
        torch.ops.aten.conv_transpose1d.default: 1,
        torch.ops.aten.conv_transpose2d.input: 1,
        torch.ops.aten.conv_transpose3d.input: 1,
    }
)
"""Operators that multiply by a weight, quantized or not, with its position."""
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
DEQUANTIZE_CHANNELS = torch.ops.quantized_decomposed.dequantize_per_channel.default
QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
PADS = frozenset({torch.ops.aten.pad.default, torch.ops.aten.constant_pad_nd.default})
SLICES = frozenset({torch.ops.aten.slice.Tensor, torch.ops.aten.narrow.default, torch.ops.aten.select.int})
MAXIMA = frozenset({torch.ops.aten.max_pool2d.default})
TURNS = frozenset({torch.ops.aten.permute.default, torch.ops.aten.transpose.int})
RESHAPES = frozenset(
    {
        torch.ops.aten.flatten.using_ints,
        torch.ops.aten.reshape.default,
        torch.ops.aten.unflatten.int,
        torch.ops.aten.view.default,
    }
)
MEANS = frozenset({torch.ops.aten.mean.dim})
PRODUCTS = frozenset({torch.ops.aten.mul.Tensor, torch.ops.aten.mul_.Tensor})
DECOMPOSED = frozenset(
    {
        torch.ops.aten.silu.default,
        torch.ops.aten.silu_.default,
    }
)
"""Lowered as a product of the input with a function of it."""
NOTED = "weight"
"""Where a node's ``meta`` has what the quantizer would lose: its weight's name and size, MACs, whether 8 bits pay."""


def fit(module: GraphModule) -> None:
    """Write a program with quantize and dequantize operators so that XNNPACK runs what it takes of it, in place.

    Args:
        module: A traced program; the ranges of max pooling may change where the range of its input serves as well.
    """
    _keep_ranges_of_maxima(module)
    shield(module)


def is_dequantized(node: object) -> bool:
    """Tell whether an argument of a node is what a dequantize operator gives."""
    return isinstance(node, torch.fx.Node) and "dequantize" in str(node.target)


def _keep_ranges_of_maxima(module: GraphModule) -> None:
    """Give max pooling of integers the range of its input, in place: XNNPACK does not load it with another.

    What it gives is among what it reads, so nothing is rounded again.
    """
    for node in module.graph.nodes:
        if node.target not in MAXIMA or getattr(node.args[0], "target", None) is not DEQUANTIZE:
            continue
        of_input = node.args[0].args[1:]
        rounded = [user for user in node.users if user.target is QUANTIZE]
        read = [user for each in rounded for user in each.users if user.target is DEQUANTIZE]
        for each in (*rounded, *read):
            each.args = (each.args[0], *of_input)
    module.recompile()


def shield(module: GraphModule) -> None:
    """Put a clamp that changes nothing between dequantized values and what XNNPACK would compute with integers wrongly.

    It takes a slice, a mean, or a product of a quantized value with another, that is read by a quantize for one of
    integers, which it lowers and then fails to run; the same for padding that no quantize reads; and it refuses a
    convolution of one dimension whose weight is in floating point. The clamp's bounds are those of the quantized range,
    so no value is beyond them. A map that is turned or reshaped, and whose values others read, too, is dequantized by
    itself: the delegate would turn integers, and fail to run what reads the others; of a reshaped map that it also
    returns, lowering loses the type.
    """
    for node in list(module.graph.nodes):
        if node.target is not DEQUANTIZE:
            continue
        shielded = [user for user in node.users if _needs_shield(user)]
        for user in [user for user in node.users if user.target in TURNS | RESHAPES][: len(node.users) - 1]:
            with module.graph.inserting_after(node):
                user.replace_input_with(node, module.graph.node_copy(node))
        if not shielded:
            continue
        scale, zero_point, lowest, highest = node.args[1:5]
        with module.graph.inserting_after(node):
            bounds = ((lowest - zero_point) * scale, (highest - zero_point) * scale)
            clamp = module.graph.call_function(torch.ops.aten.clamp.default, (node, *bounds))
        for user in shielded:
            user.replace_input_with(node, clamp)
    module.recompile()


def _needs_shield(user: Node) -> bool:
    if NOTED in user.meta and user.target in WITH_WEIGHTS:
        return not is_dequantized(user.args[WITH_WEIGHTS[user.target]])
    if user.target in PADS:
        return not any(reader.target is QUANTIZE for reader in user.users)
    if user.target in PRODUCTS:
        return any(each.target is not DEQUANTIZE for each in user.all_input_nodes)
    return user.target in SLICES | DECOMPOSED | MEANS
