"""elu(t) + 1, the feature map of linear attention, in terms that XNNPACK takes over.

elu(t) + 1 is t + 1 for t > 0 and exp(t) otherwise. With r = relu(t), t - r is min(t, 0) without rounding, and
r + exp(t - r) is t + 1 above zero and 0 + exp(t) below: four elementwise operations and no constant.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mobilevit_tools.rewrites.functions import Function, Replacement, Run


def _elu(run: Run, t: Tensor, alpha: float = 1.0, inplace: bool = False) -> object:
    if alpha != 1.0 or inplace:
        return NotImplemented
    result = F.elu(t)
    run.remember(result, t)
    run.places -= 1  # it counts when 1 is added
    return result


def _add(run: Run, left: object, right: object, *, alpha: float = 1) -> object:
    t = run.origin(left)
    if not isinstance(t, Tensor) or not isinstance(right, int | float) or right != 1 or alpha != 1:
        return NotImplemented
    positive = torch.relu(t)
    return positive + torch.exp(t - positive)


REPLACEMENTS: Mapping[Function, Replacement] = {
    F.elu: _elu,
    Tensor.add: _add,
    torch.add: _add,
    Tensor.__add__: _add,
    Tensor.__radd__: _add,
}
