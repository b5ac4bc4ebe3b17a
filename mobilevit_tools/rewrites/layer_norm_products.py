"""LayerNorm with its means as products.

With u = 1/C everywhere (1 x C): d = x - x u^T, c = d - d u^T, variance = (c c) u^T, and the norm is
c / sqrt(variance + eps), times weight plus bias. The means are products with a constant, the rest is elementwise with
broadcasting, so that XNNPACK takes all of it over; it has no LayerNorm of its own. The second mean is zero but for the
rounding of the first, which counts where a token's values lie far from zero and close together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.forms.norms import centred
from mobilevit_tools.rewrites.functions import Function, Replacement, Run


def _layer_norm(  # noqa: PLR0917 - the signature is torch's
    run: Run,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> object:
    if len(normalized_shape) != 1:
        return NotImplemented
    mean = run.filled((1, x.shape[-1]), 1 / x.shape[-1], x)
    differences = centred(x, lambda values: F.linear(values, mean))
    normed = differences / torch.sqrt(F.linear(differences * differences, mean) + eps)
    if weight is not None:
        normed = normed * weight
    return normed if bias is None else normed + bias


REPLACEMENTS: Mapping[Function, Replacement] = {F.layer_norm: _layer_norm}
