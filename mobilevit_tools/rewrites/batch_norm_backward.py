"""BatchNorm folded into the convolution before it.

With statistics m, v and affine g, b, and s = g / sqrt(v + eps), evaluation computes s (W x + c - m) + b, which is the
convolution of weights s W (scaled by output channel) and bias s (c - m) + b. Padding does not matter: the norm acts on
what the convolution has already summed.
"""

from __future__ import annotations

from torch import Tensor, nn

from mobilevit_tools.rewrites.dataflow import Dataflow


def rewrite(module: nn.Module, flow: Dataflow) -> tuple[nn.Module, int]:
    """Fold every BatchNorm2d that is the only reader of a Conv2d."""
    places = 0
    for pair in flow.adjacent(module, nn.Conv2d, nn.BatchNorm2d):
        affine = scale_and_shift(pair.second)
        if affine is None:
            continue
        conv, (scale, shift) = pair.first, affine
        conv.weight = frozen(conv.weight * scale.view(-1, 1, 1, 1))
        conv.bias = frozen(shift if conv.bias is None else scale * conv.bias + shift)
        module.set_submodule(pair.second_name, nn.Identity())
        places += 1
    return module, places


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor] | None:
    """Return s and t, each (C,), such that ``norm`` computes s x + t; None where it takes statistics from its input."""
    if norm.running_mean is None or norm.running_var is None:
        return None
    scale = (
        (norm.running_var + norm.eps).rsqrt() * norm.weight if norm.affine else (norm.running_var + norm.eps).rsqrt()
    )
    shift = -scale * norm.running_mean
    return scale, shift + norm.bias if norm.affine else shift


def frozen(tensor: Tensor) -> nn.Parameter:
    """Return a parameter that needs no gradient."""
    return nn.Parameter(tensor.detach(), requires_grad=False)
