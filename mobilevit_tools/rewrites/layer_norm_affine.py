"""LayerNorm's affine folded into the Linear after it.

With z the normalised vector, W (g z + b) + c is (W g) z + (W b + c): the columns of the weights are scaled, the bias
takes the rest, and the norm keeps neither. Worth it where the norm is made of elementwise parts.
"""

from __future__ import annotations

from torch import nn

from mobilevit_tools.rewrites.batch_norm_backward import frozen
from mobilevit_tools.rewrites.dataflow import Dataflow


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Fold the affine of every LayerNorm over the last axis whose only reader is a Linear."""
    places = 0
    for pair in flow.adjacent(module, nn.LayerNorm, nn.Linear):
        norm, linear = pair.first, pair.second
        if not norm.elementwise_affine or len(norm.normalized_shape) != 1:
            continue
        if norm.bias is not None:
            added = linear.weight @ norm.bias
            linear.bias = frozen(added if linear.bias is None else linear.bias + added)
        linear.weight = frozen(linear.weight * norm.weight)
        plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
        module.set_submodule(pair.first_name, plain)
        places += 1
    return module, places
